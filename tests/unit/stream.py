"""Connections that publish through shared lanes, and the account of what they have read: for tests of the hot path."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from runtime.host.budget import Budget
from runtime.host.parcel import Parcel
from runtime.host.publisher import DaprPublisher, Lanes
from runtime.host.queue import Dropped, FrameQueue
from runtime.models.events import FRAME, FRAMES, Event
from runtime.models.options import WebSocketOptions
from tests.unit.faulty_publisher import FaultyPublisher
from tests.unit.world import Quiet
from tests.virtual_time import FakeClock

Number = tuple[str, int, int]
"""A frame: connection, epoch, sequence."""
URL = "ws://feed.example/stream"


@dataclass(frozen=True)
class Read:
    """A message that was numbered."""

    payload: str | bytes
    topic: str


class Stream:
    """One connection: what its socket has brought, and a reader that publishes it as a session does."""

    def __init__(self, stage: Stage, id_: str, options: WebSocketOptions) -> None:
        self.id, self.stage, self.options = id_, stage, options
        self.queue = FrameQueue(id_, options, stage.lanes.on_ready, self._lost, stage.budget)
        self.epoch, self.topic, self.is_holding = 1, "t", False
        self.publisher = DaprPublisher(id_, URL, 1, self.queue)
        self.inbox: deque[str | bytes] = deque()
        self.largest = 0  # memory of a queued frame, the largest so far
        self.may_drop = False
        self.held: set[Number] = set()
        self._has_come = asyncio.Event()
        self.use(options)

    def receive(self, *messages: str | bytes) -> None:
        """The peer has sent."""
        self.inbox.extend(messages)
        self._has_come.set()

    async def run(self) -> None:
        """Read without end."""
        while True:
            self.read()
            if self.inbox:
                await self.queue.wait_for_room()
            else:
                self._has_come.clear()
                await self._has_come.wait()

    def read(self) -> None:
        """Publish as much as there is room for, and look at the bounds."""
        before, first = list(self.inbox), self.publisher.sequence + 1
        self.publisher.publish(self.inbox, self.stage.clock.now(), self.topic)
        for sequence, payload in enumerate(before[: len(before) - len(self.inbox)], first):
            number = (self.id, self.epoch, sequence)
            self.stage.read[number] = Read(payload, self.topic)
            if self.is_holding:
                self.held.add(number)
        if self.publisher.sequence >= first:
            self._check_bounds()

    def use(self, options: WebSocketOptions) -> None:
        """What a new generation does."""
        self.options = options
        self.may_drop = self.may_drop or self.drops
        self.queue.resize(options)

    @property
    def drops(self) -> bool:
        return self.options.overflow.value == "drop_oldest"

    def begin(self) -> None:
        """The next epoch."""
        self.epoch += 1
        self.publisher.begin(self.epoch, URL)

    def hold(self) -> None:
        """It arrives here, and the host before it still publishes."""
        if not self.is_holding:
            self.begin()
            self.queue.hold()
            self.is_holding = True

    def let_go(self) -> None:
        """The host before it has published all."""
        self.queue.let_go()
        self.is_holding = False
        self.held.clear()

    def forget_held(self) -> None:
        """It stays where it was."""
        self.queue.forget_held()
        self.is_holding = False
        self.stage.forgotten |= self.held
        self.held.clear()
        self.begin()

    def _lost(self, dropped: Dropped, reason: str) -> None:
        for sequence in range(dropped.first, dropped.last + 1):
            number = (self.id, dropped.epoch, sequence)
            assert number in self.stage.read, f"a gap of what was never read: {number}"
            assert number not in self.stage.dropped, f"a gap that is announced twice: {number}"
            self.stage.dropped.add(number)

    def _check_bounds(self) -> None:
        self.largest = max(self.largest, *(entry.size for entry in self.queue), 0)
        queue, options = self.queue, self.options
        waiting = len(queue._waiting)
        assert len(queue) <= options.queue_max_messages or (self.drops and waiting == 1), "more messages than allowed"
        assert queue.size_bytes < options.queue_max_bytes + self.largest or (self.drops and waiting == 1), "more bytes"
        self.stage.check_budget()


class Stage:
    """Several connections on shared lanes with one budget, and one publisher."""

    def __init__(self, publisher: FaultyPublisher, lanes: int = 1, budget: Budget | None = None) -> None:
        self.publisher, self.clock, self.observer = publisher, FakeClock(), Quiet()
        self.budget = budget or Budget()
        self.lanes = Lanes(publisher, self.clock, lambda: 0.5, self.observer, self._refused, lanes)
        self.streams: dict[str, Stream] = {}
        self.read: dict[Number, Read] = {}
        self.dropped: set[Number] = set()
        self.forgotten: set[Number] = set()
        self.refused: dict[Number, Event] = {}

    def stream(self, id_: str = "a", **options: Any) -> Stream:
        """One more connection."""
        made = self.streams[id_] = Stream(self, id_, options_of(**options))
        return made

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Stage]:
        """Lanes and readers."""
        tasks = [asyncio.create_task(run()) for run in (self.lanes.run, *(s.run for s in self.streams.values()))]
        try:
            yield self
            assert not [task for task in tasks if task.done()]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def check_budget(self) -> None:
        """One message more for each queue; one that drops may have another in flight."""
        queues = [stream.queue for stream in self.streams.values()]
        assert self.budget.held_bytes == sum(queue.size_bytes for queue in queues)
        over = sum(stream.largest * (2 if stream.may_drop else 1) for stream in self.streams.values())
        assert self.budget.held_bytes < self.budget.max_bytes + over, "more than all queues may hold together"

    def arrived(self) -> Iterator[tuple[Event, list[dict[str, Any]]]]:
        """Events as they came, each with its envelopes."""
        for event in self.publisher.arrived:
            yield event, envelopes_of(event)

    def numbers(self) -> list[Number]:
        """The frames that have arrived, in the order of first arrival."""
        return list(dict.fromkeys(number_of(envelope) for _, its in self.arrived() for envelope in its))

    def _refused(self, queue: FrameQueue, parcel: Parcel, reason: str) -> None:
        (entry,) = parcel.entries
        number = (queue.connection_id, entry.epoch, entry.sequence)
        assert number not in self.refused, "refused twice"
        self.refused[number] = parcel.event


def options_of(**options: Any) -> WebSocketOptions:
    """Options with queues as small as one likes: the largest message is up to the socket."""
    return WebSocketOptions(**{"max_message_bytes": 1, **options})


def envelopes_of(event: Event) -> list[dict[str, Any]]:
    """What an event says."""
    assert event.type in {FRAME, FRAMES}
    said = json.loads(event.data)
    return said if event.type == FRAMES else [said]


def number_of(envelope: dict[str, Any]) -> Number:
    return envelope["websocketId"], envelope["epoch"], envelope["sequence"]


def payload_of(envelope: dict[str, Any]) -> str | bytes:
    is_text = envelope["contentType"] == "text/plain"
    return envelope["payload"] if is_text else b64decode(envelope["payload"])


def texts(first: int, last: int) -> list[str]:
    return [str(number) for number in range(first, last + 1)]


def ids(stage: Stage) -> list[str]:
    return [event.id for event in stage.publisher.arrived]


async def published(stage: Stage, *messages: str | bytes, **options: Any) -> list[Event]:
    """What becomes of messages that one read brings; in batches, unless the options say otherwise."""
    stream = stage.stream(**{"delivery": "batch", **options})
    async with stage.running():
        stream.receive(*messages)
        await asyncio.sleep(100)
    return stage.publisher.arrived
