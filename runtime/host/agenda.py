"""Which records a host has to look at soon: each once for any number of nudges, and by one worker at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(slots=True)
class Agenda:
    """Ids in the order in which they came."""

    _waiting: dict[str, bool] = field(default_factory=dict)
    _later: set[str] = field(default_factory=set)
    _active: set[str] = field(default_factory=set)
    _signal: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_at_work(self) -> bool:
        """Whether something is looked at right now."""
        return bool(self._active)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, connection_id: str, *, is_for_any: bool = False) -> None:
        """Look at this record soon. `is_for_any`: the nudge might as well have gone to another host."""
        self._waiting[connection_id] = is_for_any and self._waiting.get(connection_id, True)
        self._signal.set()

    def add_later(self, connection_id: str, *, at_most: int | None = None) -> None:
        """Look at it when `resume` is called. `at_most`: unless so many wait for that already."""
        if at_most is None or len(self._later) < at_most:
            self._later.add(connection_id)

    def resume(self) -> None:
        """What had to wait may be looked at again."""
        for connection_id in self._later:
            self.add(connection_id)
        self._later.clear()

    async def wait_until_idle(self) -> None:
        """Return when a look has ended."""
        self._idle.clear()
        await self._idle.wait()

    @asynccontextmanager
    async def next(self) -> AsyncIterator[tuple[str, bool]]:
        """The next id, once there is one that nobody looks at, and `is_for_any`; nobody else gets it meanwhile."""
        while (connection_id := next((id_ for id_ in self._waiting if id_ not in self._active), None)) is None:
            self._signal.clear()
            await self._signal.wait()
        is_for_any = self._waiting.pop(connection_id)
        self._active.add(connection_id)
        try:
            yield connection_id, is_for_any
        finally:
            self._active.discard(connection_id)
            self._idle.set()
            if self._waiting:
                self._signal.set()
