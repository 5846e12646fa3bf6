"""The app-id of a sidecar that a command starts: nobody else has it now, and if possible it is one from before.

A broker keeps something for each app-id that has ever subscribed: Redis a consumer group, SQS a queue that goes on
filling. So an id is used again. It is the name of a file of this user's, and belongs to whoever holds its lock.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4


@contextmanager
def own_app_id(purpose: str) -> Iterator[tuple[str, list[int]]]:
    """An id for the block, and the descriptors that the sidecar must inherit.

    By them the id stays taken as long as the sidecar lives, even if we are killed.
    """
    name, locks = _take(f"wsm-{purpose}-")
    try:
        yield name, locks
    finally:
        for lock in locks:
            os.close(lock)


def _take(prefix: str) -> tuple[str, list[int]]:
    fresh = prefix + uuid4().hex[:8]
    try:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "websocket-manager"
        folder.mkdir(parents=True, exist_ok=True)
        for name in (*sorted(path.name for path in folder.glob(f"{prefix}*")), fresh):
            lock = os.open(folder / name, os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(lock)
            else:
                return name, [lock]
    except (OSError, RuntimeError):  # no home, or none of ours: then the broker keeps one thing more
        pass
    return fresh, []
