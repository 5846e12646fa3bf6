"""Publishing: a few calls in flight, and a connection in one of them, so that order holds by construction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from runtime.errors import EventRefusedError, PublishError
from runtime.host.parcel import Frame, Parcel, memory_of
from runtime.host.queue import FrameQueue
from runtime.models.envelope import EnvelopeEncoder
from runtime.models.wire import format_time
from runtime.ports import Clock, Observer, Publisher, Random

CALL_MAX_EVENTS = 500
CALL_MAX_BYTES = 1024 * 1024
RETRY_BASE_S, RETRY_CAP_S = 0.1, 5.0


class DaprPublisher:
    """Wraps frames of one connection and epoch in envelopes and queues them, numbered, for their lane."""

    __slots__ = ("_encoder", "_epoch", "_id", "_is_json", "_queue", "sequence")

    def __init__(self, connection_id: str, url: str, epoch: int, queue: FrameQueue, *, is_json: bool = False) -> None:
        self._id, self._queue, self._is_json = connection_id, queue, is_json
        self.begin(epoch, url)

    def begin(self, epoch: int, url: str) -> None:
        """Number from 1 under this epoch."""
        self._epoch = epoch
        self.sequence = 0
        self.rename(url)

    def rename(self, url: str, *, is_json: bool | None = None) -> None:
        """The URL of the connection has changed, or (`is_json`) the form of its payloads."""
        self._is_json = self._is_json if is_json is None else is_json
        self._encoder = EnvelopeEncoder(self._id, url, self._epoch, is_json=self._is_json)

    def publish(self, messages: deque[str | bytes], received: datetime, topic: str) -> None:
        """Number, wrap and queue messages, the first one first, until the queue is full; the others are left."""
        queue, epoch, id_, encoder = self._queue, self._epoch, self._id, self._encoder
        if queue.is_full:
            return
        time, stamp = format_time(received), received.timestamp()  # the same for all that one read has brought
        encode, offer, next_message = encoder.stamped(time), queue.offer, messages.popleft
        sequence, has_room = self.sequence, True
        while has_room and messages:
            sequence += 1
            envelope = encode(next_message(), sequence)
            has_room = offer(Frame(epoch, sequence, stamp, memory_of(len(envelope)), envelope, topic, id_, time))
        self.sequence = sequence


@dataclass(slots=True)
class Lanes:
    """Publishes what queues hold, with as many calls in flight as there are lanes.

    A call takes the head of each ready queue, round robin; runs where the publisher keeps order. A queue is in one call
    at a time, so that order holds by construction. A lane takes its share of the queues that are ready or in flight and
    no more, so that calls come to be of one size: in a long one many frames wait, and a short one costs too much.

    A failed call tells nothing about which events got through: what is not known to have arrived is sent again, in
    order, with the same content and ids, without end. Only what is refused for itself is given up, to `refused`.
    """

    publisher: Publisher
    clock: Clock
    random: Random
    observer: Observer
    refused: Callable[[FrameQueue, Parcel, str], None]
    width: int = 1
    _in_flight: int = 0
    _ready: deque[FrameQueue] = field(default_factory=deque)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def on_ready(self, queue: FrameQueue) -> None:
        """A queue has something to take; while some of it is in flight it is looked at again after that."""
        if not queue.is_listed and not queue.is_flying:
            queue.is_listed = True
            self._ready.append(queue)
            self._wake.set()

    async def run(self) -> None:
        """Publish until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.width):
                group.create_task(self._run_lane())

    async def _run_lane(self) -> None:
        while True:
            while not self._ready:
                self._wake.clear()
                await self._wake.wait()
            chunk = self._gather()
            if chunk:
                await self._publish(chunk)

    def _gather(self) -> list[tuple[FrameQueue, Parcel]]:
        chunk: list[tuple[FrameQueue, Parcel]] = []
        room = CALL_MAX_BYTES
        share = -(-(len(self._ready) + self._in_flight) // self.width)
        queues = [self._ready.popleft() for _ in range(min(len(self._ready), share, CALL_MAX_EVENTS))]
        of_one = max(1, CALL_MAX_EVENTS // len(queues)) if self.publisher.keeps_order else 1
        for index, queue in enumerate(queues):
            if room <= 0 or len(chunk) == CALL_MAX_EVENTS:
                self._ready.extendleft(reversed(queues[index:]))
                break
            queue.is_listed = False
            for parcel in queue.take(CALL_MAX_EVENTS - len(chunk), room, of_one):
                room -= len(parcel.event.data)
                chunk.append((queue, parcel))
        return chunk

    async def _publish(self, chunk: list[tuple[FrameQueue, Parcel]]) -> None:
        queues = dict.fromkeys([queue for queue, _ in chunk])
        self._in_flight += len(queues)
        await self._until_accepted(chunk)  # one that is cancelled releases nothing: the process ends with it
        self._in_flight -= len(queues)
        for queue in queues:
            queue.release()
            if queue.has_waiting:
                self.on_ready(queue)

    async def _until_accepted(self, chunk: list[tuple[FrameQueue, Parcel]]) -> None:
        """Empties the chunk. What is in it is sent again as it is, but for a batch that was refused for itself."""
        failures, is_split = 0, False
        while chunk:
            sent = _one_of_each(chunk) if is_split else chunk  # the second half may arrive though the first is refused
            try:
                await self.publisher.publish_many([parcel.event for _, parcel in sent])
            except EventRefusedError as error:
                queue, parcel = chunk[error.index]
                halves = []
                if len(parcel.entries) > 1:  # too large, most likely: nothing of it has arrived
                    halves = [(queue, half) for half in queue.wrapping.halves(parcel)]
                    is_split = True
                else:
                    self.refused(queue, parcel, str(error))
                chunk[: error.index + 1] = halves
                failures = 0
            except PublishError as error:
                del chunk[: error.published]
                failures = 1 if error.published else failures + 1
                await self._pause(failures, error)
            else:
                del chunk[: len(sent)]
                failures = 0

    async def _pause(self, failures: int, error: PublishError) -> None:
        delay = min(RETRY_CAP_S, RETRY_BASE_S * 2 ** min(failures - 1, 10))
        delay = max(error.retry_after_s or 0, delay * (0.5 + self.random() / 2))
        if failures == 1:
            self.observer.warn("publish_failed", reason=str(error), retry_in_s=round(delay, 3))
        await self.clock.sleep(delay)


def _one_of_each(chunk: Sequence[tuple[FrameQueue, Parcel]]) -> Sequence[tuple[FrameQueue, Parcel]]:
    """The begin of a chunk, up to where a connection comes a second time."""
    seen: set[str] = set()
    for index, (_, parcel) in enumerate(chunk):
        if parcel.event.subject in seen:
            return chunk[:index]
        seen.add(parcel.event.subject)
    return chunk
