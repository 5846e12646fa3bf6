"""What a socket brings before its turn, while the one before it is still read."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from runtime.host.flag import Flag
from runtime.host.parcel import memory_of
from runtime.host.queue import FrameQueue


@dataclass(slots=True)
class Held:
    """Messages that are not numbered yet, in portions with the time at which they were received.

    As many as the queue of the connection may hold. `has_turn`: set when nothing is held back any more.
    """

    queue: FrameQueue
    has_turn: Flag = field(default_factory=Flag)
    _portions: deque[tuple[datetime, deque[str | bytes]]] = field(default_factory=deque)
    _count: int = 0
    _bytes: int = 0

    def keep(self, messages: deque[str | bytes], received: datetime) -> None:
        """Take as many as there is room for, the first one first; the others are left."""
        kept: deque[str | bytes] = deque()
        while messages and self.queue.could_hold(self._count, self._bytes):
            message = messages.popleft()
            kept.append(message)
            self._count += 1
            self._hold(_memory_of(message))
        if kept:
            self._portions.append((received, kept))

    async def pass_on(
        self, publish: Callable[[deque[str | bytes], datetime], None], until_room: Callable[[], Awaitable[None]]
    ) -> None:
        """Publish all, and hold back nothing more. `publish`: takes as many out as there is room for."""
        while self._portions:
            received, messages = self._portions[0]
            self._hold(-sum(map(_memory_of, messages)))
            publish(messages, received)
            self._hold(sum(map(_memory_of, messages)))
            if messages:
                await until_room()
            else:
                self._portions.popleft()
        self.has_turn.set()

    def forget(self) -> None:
        """Its turn never comes."""
        self._portions.clear()
        self._hold(-self._bytes)

    def _hold(self, size: int) -> None:
        self._bytes += size
        if size > 0:
            self.queue.budget.held_bytes += size
        else:
            self.queue.budget.give_back(-size)


def _memory_of(message: str | bytes) -> int:
    return memory_of(len(message) * (1 if isinstance(message, bytes) or message.isascii() else 4))
