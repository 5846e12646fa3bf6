"""Publishing: connections are dealt to lanes, each with one call in flight, so that order holds by construction."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from zlib import crc32

from runtime.errors import EventRefusedError, PublishError
from runtime.host.queue import Entry, FrameQueue
from runtime.models.envelope import EnvelopeEncoder
from runtime.models.events import FRAME, Event
from runtime.models.wire import format_time
from runtime.ports import Clock, Observer, Publisher, Random

CALL_MAX_EVENTS = 500
CALL_MAX_BYTES = 1024 * 1024
RETRY_BASE_S, RETRY_CAP_S = 0.1, 5.0


class DaprPublisher:
    """Wraps frames of one connection and epoch in envelopes and queues them, numbered, for their lane."""

    __slots__ = ("_encoder", "_epoch", "_id", "_queue", "_second", "_start", "sequence")

    def __init__(self, connection_id: str, url: str, epoch: int, queue: FrameQueue) -> None:
        self._id, self._queue = connection_id, queue
        self._second, self._start = -1, ""
        self.begin(epoch, url)

    def begin(self, epoch: int, url: str) -> None:
        """Number from 1 under this epoch."""
        self._epoch = epoch
        self.sequence = 0
        self.rename(url)

    def rename(self, url: str) -> None:
        """The URL of the connection has changed."""
        self._encoder = EnvelopeEncoder(self._id, url, self._epoch)

    def publish(self, payload: str | bytes, received: datetime, topic: str) -> bool:
        """Number, wrap and queue one frame. False: the queue is full, wait for room before reading on."""
        self.sequence = sequence = self.sequence + 1
        stamp = received.timestamp()
        if int(stamp) != self._second:  # all but the fraction is written once a second: it costs as much as the rest
            self._second, self._start = int(stamp), format_time(received)[: -len("000000Z")]
        time = f"{self._start}{received.microsecond:06d}Z"
        data = self._encoder.encode(payload, time, sequence)
        event = Event(f"{self._id}.{self._epoch}.{sequence}", topic, FRAME, self._id, time, data)
        return self._queue.offer(event, self._epoch, sequence, stamp)


@dataclass(slots=True)
class Lane:
    """One call in flight. Takes the head of each ready queue, round robin; runs where the publisher keeps order.

    A failed call tells nothing about which events got through: what is not known to have arrived is sent again, in
    order, with the same content and ids, without end. Only what is refused for itself is given up, to `refused`.
    """

    publisher: Publisher
    clock: Clock
    random: Random
    observer: Observer
    refused: Callable[[FrameQueue, Entry, str], None]
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
        while True:
            await self._wake.wait()
            chunk = self._gather()
            if chunk:
                await self._publish(chunk)
            if not self._ready:
                self._wake.clear()

    def _gather(self) -> list[tuple[FrameQueue, list[Entry]]]:
        chunk: list[tuple[FrameQueue, list[Entry]]] = []
        events = size = 0
        run_limit = max(1, CALL_MAX_EVENTS // max(1, len(self._ready))) if self.publisher.keeps_order else 1
        while self._ready and events < CALL_MAX_EVENTS and size < CALL_MAX_BYTES:
            queue = self._ready.popleft()
            queue.is_listed = False
            if not queue.has_waiting:
                continue
            run = queue.take(min(run_limit, CALL_MAX_EVENTS - events), CALL_MAX_BYTES - size)
            events += len(run)
            size += sum(entry.size for entry in run)
            chunk.append((queue, run))
        return chunk

    async def _publish(self, chunk: list[tuple[FrameQueue, list[Entry]]]) -> None:
        entries = [(queue, entry) for queue, run in chunk for entry in run]
        await self._until_accepted(entries)  # a cancelled lane releases nothing: the process ends with it
        for queue, run in chunk:
            queue.release(len(run))
            if queue.has_waiting:
                self.on_ready(queue)

    async def _until_accepted(self, entries: list[tuple[FrameQueue, Entry]]) -> None:
        failures = 0
        while entries:
            try:
                await self.publisher.publish_many([entry.event for _, entry in entries])
            except EventRefusedError as error:
                queue, entry = entries[error.index]
                self.refused(queue, entry, str(error))
                del entries[: error.index + 1]
                failures = 0
            except PublishError as error:
                del entries[: error.published]
                failures = 1 if error.published else failures + 1
                await self._pause(failures, error)
            else:
                entries.clear()

    async def _pause(self, failures: int, error: PublishError) -> None:
        delay = min(RETRY_CAP_S, RETRY_BASE_S * 2 ** min(failures - 1, 10))
        delay = max(error.retry_after_s or 0, delay * (0.5 + self.random() / 2))
        if failures == 1:
            self.observer.warn("publish_failed", reason=str(error), retry_in_s=round(delay, 3))
        await self.clock.sleep(delay)


class Lanes:
    """All lanes of a process."""

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self._lanes = lanes

    def lane_of(self, key: str) -> Lane:
        """The lane of a connection, always the same."""
        return self._lanes[crc32(key.encode()) % len(self._lanes)]

    async def run(self) -> None:
        """Run every lane until cancelled."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes:
                group.create_task(lane.run())
