"""What a queue holds, and the events that are made of it: one for each frame, or one for many."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from typing_extensions import override

from runtime.models.events import FRAME, FRAMES, Event
from runtime.models.options import Delivery, WebSocketOptions

# What a queued frame costs besides its data: the entry, its numbers, the head of the data, the slot in the queue, and
# what the allocator rounds up. Measured as resident memory on CPython 3.11: 330 where each read brings one frame, which
# then has a time of its own, and 220 where it brings many.
ENTRY_BYTES = 330
# One more byte for this many of data: what the allocator cannot use again between data of many sizes. Without it, a
# queue of 64 MiB that stayed full while a million such frames passed came to 78 MiB of resident memory.
DATA_PER_LOST_BYTE = 6
EVENT_BYTES = 480  # as ENTRY_BYTES, where the entry is a whole event


@dataclass(slots=True, eq=False)
class Entry:
    """Something numbered on its way. `received` is wall time in Unix seconds, `size` its memory in bytes."""

    epoch: int
    sequence: int
    received: float
    size: int

    @property
    def subject(self) -> str:
        """The connection among whose events the order counts."""
        raise NotImplementedError

    def event(self) -> Event:
        """The event that says it alone."""
        raise NotImplementedError


@dataclass(slots=True, eq=False)
class Frame(Entry):
    """A frame in its envelope."""

    envelope: bytes
    topic: str
    connection_id: str
    time: str

    @property
    @override
    def subject(self) -> str:
        return self.connection_id

    @override
    def event(self) -> Event:
        event_id = f"{self.connection_id}.{self.epoch}.{self.sequence}"
        return Event(event_id, self.topic, FRAME, self.connection_id, self.time, self.envelope)


@dataclass(slots=True, eq=False)
class Told(Entry):
    """An event about connections."""

    told: Event

    @property
    @override
    def subject(self) -> str:
        return self.told.subject

    @override
    def event(self) -> Event:
        return self.told


def memory_of(data_bytes: int) -> int:
    """What a queued frame with so much data holds, in bytes."""
    return data_bytes + data_bytes // DATA_PER_LOST_BYTE + ENTRY_BYTES


@dataclass(slots=True, eq=False)
class Parcel:
    """An event and all that it says. Once it was sent it stays as it is, unless it is refused for itself."""

    event: Event
    entries: Sequence[Entry]


@dataclass(slots=True)
class Wrapping:
    """How parcels are made: by the options of a connection."""

    is_batch: bool
    is_raw: bool
    max_messages: int
    max_bytes: int

    @classmethod
    def of(cls, options: WebSocketOptions) -> Wrapping:
        """As the options say."""
        is_batch = options.delivery is Delivery.BATCH
        return cls(is_batch, options.raw_payload, options.batch_max_messages, options.batch_max_bytes)

    def next(self, waiting: deque[Entry], limit: int) -> Parcel:
        """Make a parcel of what stands first, of at most `limit` entries; it is taken out."""
        if self.is_batch and isinstance(first := waiting[0], Frame):
            return _batch(self._run(waiting, first, limit), is_raw=self.is_raw)
        entry = waiting.popleft()
        event = entry.event()
        return Parcel(event._replace(is_raw=True) if self.is_raw else event, [entry])

    def halves(self, parcel: Parcel) -> list[Parcel]:
        """Two for one that was refused, and the next ones no larger than these."""
        entries = [entry for entry in parcel.entries if isinstance(entry, Frame)]
        middle = len(entries) // 2
        self.max_bytes = min(self.max_bytes, len(parcel.event.data) // 2)
        return [_batch(half, is_raw=parcel.event.is_raw) for half in (entries[:middle], entries[middle:])]

    def _run(self, waiting: deque[Entry], first: Frame, limit: int) -> list[Frame]:
        """Entries of one epoch for one topic."""
        run: list[Frame] = []
        left, room = min(self.max_messages, limit), self.max_bytes
        while waiting and left and isinstance(entry := waiting[0], Frame):
            room -= len(entry.envelope) + 1
            if run and (room < 0 or entry.topic != first.topic or entry.epoch != first.epoch):
                break
            run.append(entry)
            waiting.popleft()
            left -= 1
        return run


def _batch(run: Sequence[Frame], *, is_raw: bool) -> Parcel:
    first, last = run[0], run[-1]
    event_id = f"{first.connection_id}.{first.epoch}.{first.sequence}-{last.sequence}"
    data = b"[%b]" % b",".join([entry.envelope for entry in run])
    event = Event(event_id, first.topic, FRAMES, first.connection_id, last.time, data, is_raw=is_raw, frames=len(run))
    return Parcel(event, run)
