"""The memory of an idle connection: in a manager, and in a program that holds it with the library alone.

Both hold as many at the same time, on a feed each, with a keepalive and a read that waits. Counted is resident memory
above that of the same program without a connection, after the first pings have been answered.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import psutil

from runtime.models.options import WebSocketOptions
from tests.acceptance.feed import feeding
from tests.bench import crowd
from tests.bench.table import Group, Result, against, alone

CONNECTIONS = 10_000
SETTLING_S = WebSocketOptions().ping_interval_s + 2
LIBRARY, MANAGER = "the library alone", "manager"


async def measure(folder: Path, connections: int = CONNECTIONS, settling_s: float = SETTLING_S) -> Group:
    """The rows."""
    count = crowd.allow_files(connections)
    empty = await _held(folder / "empty", 1, 2)
    full = await _held(folder / "full", count, settling_s)
    each = {name: (full[name] - empty[name]) / (count - 1) for name in full}
    about = {"connections": count, "baseBytes": empty, "connectionBytes": {name: round(each[name]) for name in each}}
    return Group(f"Memory of each of {count:,} idle connections", rows_of(each), about)


def rows_of(each: dict[str, float]) -> list[Result]:
    """Bytes of a connection in the manager, against those in the library alone."""
    library, manager = [each[LIBRARY]], [each[MANAGER]]
    return [alone(LIBRARY, "bytes", library), against(MANAGER, "bytes", manager, LIBRARY, library)]


async def _held(folder: Path, count: int, settling_s: float) -> dict[str, float]:
    """Resident memory of both with so many connections."""
    folder.mkdir()
    async with AsyncExitStack() as stack:
        feeds = []
        for name in ("feed of the library", "feed of the manager"):
            (folder / name).mkdir()
            feeds.append(await stack.enter_async_context(feeding(folder / name)))
        library = await stack.enter_async_context(crowd.of_library(folder / "library", feeds[0], count))
        manager, _ = await stack.enter_async_context(crowd.of_manager(folder / "manager", feeds[1], count))
        await asyncio.sleep(settling_s)
        return {LIBRARY: _resident(library.pid), MANAGER: _resident(manager.pid)}


def _resident(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss)
