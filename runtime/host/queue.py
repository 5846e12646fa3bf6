"""The bounded queue between the reader of a connection and its lane: order, bounds, and the account of drops."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from runtime.models.events import Event
from runtime.models.options import Overflow, WebSocketOptions

# What a queued event costs besides its data and its id: two objects, their strings and numbers, the heads of data and
# id, the slot in the queue, and what the allocator rounds up. Measured as resident memory on CPython 3.11.
ENTRY_BYTES = 480
# One more byte for this many of data: what the allocator cannot use again between data of many sizes. Without it, a
# queue of 64 MiB that stayed full while a million such frames passed came to 78 MiB of resident memory.
DATA_PER_LOST_BYTE = 6


@dataclass(frozen=True, slots=True)
class Dropped:
    """Sequences that were numbered and then dropped, both inclusive; `since`: when the first was received."""

    epoch: int
    first: int
    last: int
    since: float


@dataclass(slots=True)
class Entry:
    """One numbered event on its way. `received` is wall time in Unix seconds."""

    event: Event
    epoch: int
    sequence: int
    received: float
    size: int


@dataclass(slots=True)
class FrameQueue:
    """Events of one connection, in order. Full means: the reader waits (`block`) or the oldest go.

    `hold` keeps back what comes from then on, while what came before is published.
    """

    connection_id: str
    max_messages: int
    max_bytes: int
    overflow: Overflow
    on_ready: Callable[[FrameQueue], None]
    on_dropped: Callable[[Dropped, str], None]
    _waiting: deque[Entry] = field(default_factory=deque)
    _flying: list[Entry] = field(default_factory=list)
    _ahead_of_hold: int | None = None  # how many of those waiting may be taken; None: all
    _bytes: int = 0
    _pending_drop: Dropped | None = None
    _room: asyncio.Event = field(default_factory=asyncio.Event)
    _empty: asyncio.Event = field(default_factory=asyncio.Event)
    is_listed: bool = False

    def __post_init__(self) -> None:
        self._room.set()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._flying) + len(self._waiting)

    @property
    def has_waiting(self) -> bool:
        """Whether there is something to take."""
        return bool(self._waiting) and self._ahead_of_hold != 0

    @property
    def is_flying(self) -> bool:
        """Whether some of it was taken and not yet released."""
        return bool(self._flying)

    @property
    def size_bytes(self) -> int:
        """Memory held, by our account."""
        return self._bytes

    @property
    def is_full(self) -> bool:
        """Whether the bound is reached."""
        return self._bytes >= self.max_bytes or len(self._flying) + len(self._waiting) >= self.max_messages

    @property
    def oldest_received(self) -> float | None:
        """When the oldest event was received that is neither published nor announced as dropped."""
        if self._flying:
            return self._flying[0].received
        if self._pending_drop is not None:
            return self._pending_drop.since
        return self._waiting[0].received if self._waiting else None

    def __iter__(self) -> Iterator[Entry]:
        """All that is neither published nor dropped, the oldest first."""
        yield from self._flying
        yield from self._waiting

    def resize(self, options: WebSocketOptions) -> None:
        """Take over the bounds of these options; they hold from the next event."""
        self.max_messages, self.max_bytes = options.queue_max_messages, options.queue_max_bytes
        self.overflow = options.overflow

    def offer(self, event: Event, epoch: int, sequence: int, received: float) -> bool:
        """Append. False means that the reader must `wait_for_room` before it reads on."""
        length = len(event.data)
        size = length + length // DATA_PER_LOST_BYTE + len(event.id) + ENTRY_BYTES
        self._waiting.append(Entry(event, epoch, sequence, received, size))
        self._bytes += size
        self._empty.clear()
        if self._ahead_of_hold is None:
            self.on_ready(self)
        if self.overflow is Overflow.DROP_OLDEST:
            self._drop_oldest()
            return True
        if self.is_full:
            self._room.clear()
            return False
        return True

    def hold(self) -> None:
        """Keep back what comes from now on."""
        self._ahead_of_hold = len(self._waiting)

    def let_go(self) -> None:
        """Publish what was held back."""
        self._ahead_of_hold = None
        if self._waiting:
            self.on_ready(self)

    def forget_held(self) -> None:
        """Never publish what is held back, since another host has published it: this is no gap."""
        while self._ahead_of_hold is not None and len(self._waiting) > self._ahead_of_hold:
            self._bytes -= self._waiting.pop().size
        self._ahead_of_hold = None
        self._settle()

    async def wait_for_room(self) -> None:
        """Return when there is room again."""
        await self._room.wait()

    async def wait_until_empty(self) -> None:
        """Return when everything was published or given up."""
        await self._empty.wait()

    def take(self, limit: int, max_bytes: int) -> list[Entry]:
        """The head of the queue for one call, at most `limit` events; they count until `release`."""
        assert not self._flying
        size = 0
        if self._ahead_of_hold is not None:
            limit = min(limit, self._ahead_of_hold)
        while self._waiting and len(self._flying) < limit:
            size += self._waiting[0].size
            if self._flying and size > max_bytes:
                break
            self._flying.append(self._waiting.popleft())
        if self._ahead_of_hold is not None:
            self._ahead_of_hold -= len(self._flying)
        if self._pending_drop is not None:  # told when there is room: the events about drops wait in a queue like this
            dropped, self._pending_drop = self._pending_drop, None
            self.on_dropped(dropped, "the queue was full")
        return self._flying

    def release(self, count: int) -> None:
        """The first `count` events taken are done with; the others go back to the head of the queue."""
        self._bytes -= sum(entry.size for entry in self._flying[:count])
        left = self._flying[count:]
        self._waiting.extendleft(reversed(left))
        self._flying = []
        if self._ahead_of_hold is not None:
            self._ahead_of_hold += len(left)
        self._settle()

    def _settle(self) -> None:
        if not self.is_full:
            self._room.set()
        if not len(self):
            self._empty.set()

    def _drop_oldest(self) -> None:
        """Drop what is not in flight until there is room; the newest stays."""
        while self._is_over and len(self._waiting) > 1:
            entry = self._waiting.popleft()
            self._bytes -= entry.size
            if self._ahead_of_hold:
                self._ahead_of_hold -= 1
            self._note_drop(entry)

    @property
    def _is_over(self) -> bool:
        return len(self) > self.max_messages or self._bytes > self.max_bytes

    def _note_drop(self, entry: Entry) -> None:
        pending = self._pending_drop
        if pending is not None and pending.epoch == entry.epoch and pending.last + 1 == entry.sequence:
            self._pending_drop = Dropped(entry.epoch, pending.first, entry.sequence, pending.since)
            return
        if pending is not None:
            self.on_dropped(pending, "the queue was full")
        self._pending_drop = Dropped(entry.epoch, entry.sequence, entry.sequence, entry.received)
