"""A flag to wait for that costs next to nothing while nobody waits: a connection has several, and they rest."""

from __future__ import annotations

import asyncio


class Flag:
    """As `asyncio.Event`, which takes 0.9 KB from the start: 4 KB for each idle connection, a fifth of what it may."""

    __slots__ = ("_event", "_is_set")

    def __init__(self, *, is_set: bool = False) -> None:
        self._is_set = is_set
        self._event: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Whether nobody would have to wait."""
        return self._is_set

    def set(self) -> None:
        """Wake all that wait, and let nobody wait any more."""
        self._is_set = True
        if self._event is not None:
            self._event.set()
            self._event = None

    def clear(self) -> None:
        """Let those wait that come from now on."""
        self._is_set = False

    async def wait(self) -> None:
        """Return at once, or when it is set."""
        if self._is_set:
            return
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()
