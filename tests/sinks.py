"""A lane that publishes through the bus of the embedded profile, with its waits counted instead of waited."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from pathlib import Path

from runtime.adapters.clock import SystemClock
from runtime.adapters.embedded.bus import Bus
from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.adapters.embedded.sink import Sink
from runtime.adapters.embedded.tail import Tail
from runtime.host.announcer import Announcer
from runtime.host.publisher import DaprPublisher, Lanes
from runtime.host.queue import FrameQueue
from runtime.models.events import CloudEventEncoder, Event
from runtime.models.options import MIB, WebSocketOptions
from runtime.ports import Limits, Names
from tests.embedded import Observed
from tests.peers import until

NOW = "2026-01-31T12:00:00.000000Z"


class CountedClock(SystemClock):
    """Does not wait; remembers how long it should have."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0.001)


class Line:
    """Frames go in at one end; a sink is at the other."""

    def __init__(self, sink: Sink, folder: Path) -> None:
        names = Names()
        self.sink, self.clock, self.observed = sink, CountedClock(), Observed()
        self.letters = DeadLetterFile(folder / "dead-letters.jsonl")
        self.tail = Tail(lambda lost: b"lost")
        self.bus = Bus(sink, self.tail, CloudEventEncoder("here", "pubsub"), names, self.letters)
        self.lane = Lanes(
            self.bus, self.clock, lambda: 0.5, self.observed, lambda *refused: self.announcer.refused(*refused)
        )
        self.announcer = Announcer(self.lane, self.clock, names, Limits(), self.observed)
        options = WebSocketOptions(queue_max_messages=1000, queue_max_bytes=2 * MIB)
        self.queue = FrameQueue("a", options, self.lane.on_ready, lambda dropped, reason: None)
        self.frames = DaprPublisher("a", "ws://feed.example/?key=secret", 7, self.queue)

    def push(self, *payloads: str | bytes) -> bool:
        """Whether there is room for more."""
        waiting = deque(payloads)
        self.frames.publish(waiting, self.clock.now(), "t")
        assert not waiting
        return not self.queue.is_full

    @property
    def is_empty(self) -> bool:
        return not len(self.queue) and not len(self.announcer.queue)

    async def until_empty(self) -> None:
        await until(lambda: self.is_empty, "everything is published or given up")


@asynccontextmanager
async def line_to(sink: Sink, folder: Path):
    line = Line(sink, folder)
    running = asyncio.create_task(line.lane.run())
    try:
        yield line
    finally:
        running.cancel()
        await asyncio.wait({running})
        await sink.close()


def event(number: int, data: bytes = b"1", content_type: str = "application/json") -> Event:
    return Event(str(number), "t", "type", "a", NOW, data, content_type)
