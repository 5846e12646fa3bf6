"""The StateStore port in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from runtime.errors import RaceLostError
from runtime.ports import Stored


class MemoryStore:
    """A dictionary whose etags only rise. `before` is awaited before each operation, with its name and key."""

    def __init__(self, before: Callable[[str, str], Awaitable[None]] | None = None) -> None:
        self.values: dict[str, Stored] = {}
        self.before = before
        self._last = 0

    async def get(self, key: str) -> Stored | None:
        await self._pass("get", key)
        return self.values.get(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        await self._pass("get_many", ",".join(keys))
        return {key: self.values[key] for key in keys if key in self.values}

    async def put(self, key: str, value: bytes, etag: str | None) -> None:
        await self._pass("put", key)
        self._check(key, etag)
        self._last += 1
        self.values[key] = Stored(value, str(self._last))

    async def delete(self, key: str, etag: str) -> None:
        await self._pass("delete", key)
        self._check(key, etag)
        del self.values[key]

    async def _pass(self, operation: str, key: str) -> None:
        if self.before is not None:
            await self.before(operation, key)

    def _check(self, key: str, etag: str | None) -> None:
        stored = self.values.get(key)
        if (stored.etag if stored else None) != etag:
            raise RaceLostError("the key was changed by another writer")
