"""The StateStore port on one SQLite file."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiosqlite

from runtime.errors import PermanentError, RaceLostError, StoreError
from runtime.ports import Stored

APPLICATION_ID = 0x57534D31  # "WSM1"
FILE_VERSION = 1
_CHUNK = 500
# The counter gives every write an etag that no key ever had before, over deletion and re-creation too.
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value BLOB NOT NULL, etag INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS counter (last INTEGER NOT NULL);
INSERT INTO counter SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM counter);
CREATE TRIGGER IF NOT EXISTS count_insert AFTER INSERT ON state BEGIN UPDATE counter SET last = last + 1; END;
CREATE TRIGGER IF NOT EXISTS count_update AFTER UPDATE ON state BEGIN UPDATE counter SET last = last + 1; END;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {FILE_VERSION};
"""  # noqa: S608 - constants only
_INSERT = "INSERT INTO state (key, value, etag) SELECT ?, ?, last + 1 FROM counter WHERE true ON CONFLICT DO NOTHING"
_UPDATE = "UPDATE state SET value = ?, etag = (SELECT last + 1 FROM counter) WHERE key = ? AND etag = ?"
_DELETE = "DELETE FROM state WHERE key = ? AND etag = ?"


class SqliteStore:
    """Every write is one statement, so it is atomic; `synchronous=NORMAL` survives SIGKILL, not a power cut."""

    def __init__(self, connection: aiosqlite.Connection) -> None:
        self._db = connection

    @classmethod
    async def open(cls, path: Path, *, max_pages: int | None = None) -> SqliteStore:
        """Open or create a state file. Raises PermanentError, and leaves a file that is not ours untouched."""
        _inspect(path)
        try:
            path.touch(mode=0o600)  # noqa: ASYNC240 - once, at start; SQLite gives the files beside it the same mode
            db = await aiosqlite.connect(path, isolation_level=None)
        except (sqlite3.Error, OSError) as error:
            raise PermanentError(f"the state file {path} cannot be opened: {error}") from error
        try:
            await db.execute("PRAGMA journal_mode = WAL")
            await db.execute("PRAGMA synchronous = NORMAL")
            await db.execute("PRAGMA busy_timeout = 5000")
            await db.executescript(_SCHEMA)
            if max_pages is not None:
                await db.execute(f"PRAGMA max_page_count = {max_pages:d}")
        except sqlite3.Error as error:
            await db.close()
            raise PermanentError(f"the state file {path} cannot be used: {error}") from error
        return cls(db)

    async def close(self) -> None:
        """Close the file."""
        await self._db.close()

    async def get(self, key: str) -> Stored | None:
        return (await self.get_many([key])).get(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        found: dict[str, Stored] = {}
        for start in range(0, len(keys), _CHUNK):
            chunk = keys[start : start + _CHUNK]
            marks = ",".join("?" * len(chunk))
            query = f"SELECT key, value, etag FROM state WHERE key IN ({marks})"  # noqa: S608 - only question marks
            try:
                rows = await self._db.execute_fetchall(query, chunk)
            except sqlite3.Error as error:
                raise _store_error(error) from error
            found.update({key: Stored(value, str(etag)) for key, value, etag in rows})
        return found

    async def put(self, key: str, value: bytes, etag: str | None) -> None:
        if etag is None:
            await self._write(_INSERT, (key, value))
        else:
            await self._write(_UPDATE, (value, key, _number(etag)))

    async def delete(self, key: str, etag: str) -> None:
        await self._write(_DELETE, (key, _number(etag)))

    async def _write(self, statement: str, values: tuple[Any, ...]) -> None:
        try:
            async with self._db.execute(statement, values) as cursor:
                changed = cursor.rowcount
        except sqlite3.Error as error:
            raise _store_error(error) from error
        if changed != 1:
            raise RaceLostError("the key was changed by another writer")


def _number(etag: str) -> int:
    if not etag.isdigit():
        raise RaceLostError("the etag is none of this store's")
    return int(etag)


def _store_error(error: sqlite3.Error) -> StoreError:
    if "full" in str(error):
        return StoreError("the state file is full: free space on its disk; nothing was changed")
    return StoreError(f"the state file failed: {error}")


def _inspect(path: Path) -> None:
    """Look at an existing file without writing to it."""
    if not path.exists() or path.stat().st_size == 0:
        return
    foreign = f"{path} is not a state file of this project; it was left untouched: choose another --data folder"
    try:
        db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            application = db.execute("PRAGMA application_id").fetchone()[0]
            version = db.execute("PRAGMA user_version").fetchone()[0]
        finally:
            db.close()
    except sqlite3.Error:
        raise PermanentError(foreign) from None
    if application != APPLICATION_ID:
        raise PermanentError(foreign)
    if version > FILE_VERSION:
        raise PermanentError(
            f"{path} was written by a newer release (format {version}, this one reads {FILE_VERSION}): upgrade"
        )
