"""One manager for one data folder: a lock that the kernel lets go of when the process dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from runtime.errors import PermanentError


class FolderLock:
    """Holds `<folder>/lock` from creation to `release`. Raises PermanentError when another process holds it."""

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path = folder / "lock"
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise PermanentError(f"the data folder {folder} cannot be used: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._file, 20).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise PermanentError(
                f"{folder} is in use by another manager (process {holder}): stop it or choose another --data folder"
            ) from None
        os.ftruncate(self._file, 0)
        os.write(self._file, str(os.getpid()).encode())

    def why_not_held(self) -> str | None:
        """None as long as the file that it holds is the one that others would try to lock."""
        try:
            is_there = os.path.samestat(os.stat(self._path), os.fstat(self._file))
        except OSError as error:
            return f"the lock {self._path} cannot be looked at: {error.strerror}"
        return None if is_there else f"the lock {self._path} was replaced by another file"

    def release(self) -> None:
        """Let another process have the folder."""
        os.close(self._file)
