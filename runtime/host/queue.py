"""The bounded queue between the reader of a connection and its lane: order, bounds, and the account of drops."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import InitVar, dataclass, field
from itertools import islice

from runtime.host.budget import Budget
from runtime.host.flag import Flag
from runtime.host.parcel import Entry, Parcel, Wrapping
from runtime.models.options import Overflow, WebSocketOptions

REFILL = 0.75  # a reader that waits reads on when this part of the bound is left: waking it for each frame is dear


@dataclass(frozen=True, slots=True)
class Dropped:
    """Sequences that were numbered and then dropped, both inclusive; `since`: when the first was received."""

    epoch: int
    first: int
    last: int
    since: float


@dataclass(slots=True, eq=False)
class FrameQueue:
    """Events of one connection, in order. Full means: the reader waits (`block`) or the oldest go.

    Without a `connection_id`: events about any of them.
    `budget`: what all queues of a process may hold together; where that is spent, this one may hold one message.
    `hold` keeps back what comes from then on, while what came before is published.
    """

    connection_id: str
    options: InitVar[WebSocketOptions]
    on_ready: Callable[[FrameQueue], None]
    on_dropped: Callable[[Dropped, str], None]
    budget: Budget = field(default_factory=Budget)
    wrapping: Wrapping = field(init=False)
    _max_messages: int = field(init=False)
    _max_bytes: int = field(init=False)
    _drops: bool = field(init=False)
    _waiting: deque[Entry] = field(default_factory=deque)
    _flying: list[Entry] = field(default_factory=list)
    _ahead_of_hold: int | None = None  # how many of those waiting may be taken; None: all
    _bytes: int = 0
    _pending_drop: Dropped | None = None
    _room: Flag = field(default_factory=Flag)
    _empty: Flag = field(default_factory=Flag)
    is_listed: bool = False

    def __post_init__(self, options: WebSocketOptions) -> None:
        self.resize(options)
        self._room.set()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._flying) + len(self._waiting)

    def __iter__(self) -> Iterator[Entry]:
        """All that is neither published nor dropped, the oldest first."""
        yield from self._flying
        yield from self._waiting

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
        """Whether the reader has to wait."""
        return not self._drops and self._has_reached(1)

    @property
    def oldest_received(self) -> float | None:
        """When the oldest event was received that is neither published nor announced as dropped."""
        if self._flying:
            return self._flying[0].received
        if self._pending_drop is not None:
            return self._pending_drop.since
        return self._waiting[0].received if self._waiting else None

    def resize(self, options: WebSocketOptions) -> None:
        """Take over the bounds of these options, and how events are made; they hold from the next event."""
        self._max_messages, self._max_bytes = options.queue_max_messages, options.queue_max_bytes
        self._drops = options.overflow is Overflow.DROP_OLDEST
        self.wrapping = Wrapping.of(options)

    def offer(self, entry: Entry) -> bool:
        """Append. False means that the reader must `wait_for_room` before it reads on."""
        waiting, budget = self._waiting, self.budget
        waiting.append(entry)
        self._bytes += entry.size
        budget.held_bytes += entry.size
        self._empty.clear()
        if self._ahead_of_hold is None and not self.is_listed:
            self.on_ready(self)
        if self._drops:
            self._drop_oldest()
            return True
        return not (
            len(waiting) + len(self._flying) >= self._max_messages
            or self._bytes >= self._max_bytes
            or budget.held_bytes >= budget.max_bytes
        )

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
            self._free(self._waiting.pop())
        self._ahead_of_hold = None
        self._tell_drop()  # there may be nothing left to take
        self._settle()

    def could_hold(self, count: int, size_bytes: int) -> bool:
        """Whether the bounds of a queue allow one message more beside these."""
        return count < self._max_messages and size_bytes < self._max_bytes and not (count and self.budget.is_spent)

    async def wait_for_room(self) -> None:
        """Return when there is room again."""
        try:
            while self.is_full:
                self._room.clear()
                if self.budget.is_spent:
                    self.budget.wait(self._settle)
                await self._room.wait()
        finally:
            self.budget.leave(self._settle)

    async def wait_until_empty(self) -> None:
        """Return when everything was published or given up."""
        await self._empty.wait()

    def take(self, limit: int, max_bytes: int, of_one: int) -> list[Parcel]:
        """The head of the queue for one call; what is taken counts until `release`.

        At most `limit` events, and `of_one` of each connection; the last may exceed `max_bytes`. Only one batch: what
        stands behind one that is refused may arrive, and before its halves do.
        """
        assert not self._flying
        waiting, wrapping = self._waiting, self.wrapping
        of_one = 1 if wrapping.is_batch else of_one
        limit = min(limit, of_one) if self.connection_id else _of_each(waiting, limit, of_one)
        allowed = len(waiting) if self._ahead_of_hold is None else self._ahead_of_hold
        parcels: list[Parcel] = []
        while allowed and len(parcels) < limit and max_bytes > 0:
            parcel = wrapping.next(waiting, allowed)
            allowed -= len(parcel.entries)
            max_bytes -= len(parcel.event.data)
            parcels.append(parcel)
            self._flying += parcel.entries
        if self._ahead_of_hold is not None:
            self._ahead_of_hold = allowed
        self._tell_drop()  # when there is room: the events about drops wait in a queue like this
        return parcels

    def release(self) -> None:
        """All that was taken is done with."""
        size = 0
        for entry in self._flying:
            size += entry.size
        self._flying = []
        self._bytes -= size
        self._settle()
        self.budget.give_back(size)

    def _has_reached(self, part: float) -> bool:
        """Whether this part of its bounds is used."""
        count = len(self._flying) + len(self._waiting)
        if count >= self._max_messages * part or self._bytes >= self._max_bytes * part:
            return True
        return count > 0 and self.budget.is_spent

    def _settle(self) -> None:
        if not self._has_reached(REFILL):
            self._room.set()
        if not (self._flying or self._waiting):
            self._empty.set()

    def _free(self, entry: Entry) -> None:
        self._bytes -= entry.size
        self.budget.give_back(entry.size)

    def _drop_oldest(self) -> None:
        """Drop what is not in flight until there is room; the newest stays."""
        while self._is_over and len(self._waiting) > 1:
            entry = self._waiting.popleft()
            self._free(entry)
            if self._ahead_of_hold:
                self._ahead_of_hold -= 1
            self._note_drop(entry)

    @property
    def _is_over(self) -> bool:
        return len(self) > self._max_messages or self._bytes > self._max_bytes or self.budget.is_spent

    def _note_drop(self, entry: Entry) -> None:
        pending = self._pending_drop
        if pending is not None and pending.epoch == entry.epoch and pending.last + 1 == entry.sequence:
            self._pending_drop = Dropped(entry.epoch, pending.first, entry.sequence, pending.since)
            return
        self._tell_drop()
        self._pending_drop = Dropped(entry.epoch, entry.sequence, entry.sequence, entry.received)

    def _tell_drop(self) -> None:
        if self._pending_drop is not None:
            dropped, self._pending_drop = self._pending_drop, None
            self.on_dropped(dropped, "the queue was full")


def _of_each(waiting: deque[Entry], limit: int, of_one: int) -> int:
    """How many stand first, at most `limit`, of which no more than `of_one` are about the same connection."""
    counts: Counter[str] = Counter()
    for place, entry in enumerate(islice(waiting, limit)):
        counts[entry.subject] += 1
        if counts[entry.subject] > of_one:
            return place
    return limit
