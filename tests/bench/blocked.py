"""A broker that is stopped for a minute while 100 connections flood: what the manager holds, against its bound.

Frames are numbered by the feed and by the manager; what has become of them is read from Redis. Pings are on, so that a
healthy socket could be lost.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from runtime.models.events import FRAME
from tests.acceptance.dapr.stack import EVENTS
from tests.acceptance.dapr.streams import Stream
from tests.acceptance.feed import feeding
from tests.acceptance.ledger import Ledger, seconds
from tests.bench.defaults import DEFAULTS
from tests.bench.staged import managing, staged
from tests.bench.table import Group, against, alone
from tests.bench.topics import Topic

CONNECTIONS, BLOCKED_S, BEFORE_S = 100, 60.0, 3.0
PATIENCE_S = 300
MIB = 1 << 20
BOUND_BYTES = 256 * MIB
WITHOUT_END = 10**9  # frames
LOOK_EVERY_S = 0.2
BOUND, GROWTH = "stated bound", "growth of resident memory"

NOTE = """\
Redis stopped for {blockedS:g} s while {connections} connections flood, overflow block; the bound is queuesMaxBytes.
{frames:,} frames were read from Redis, until those received afterwards had come. Out of order, or missing unannounced:
{wrong}; gaps announced: {gaps}; events that came twice: {repeats}; sockets lost: {lost}."""


async def measure(
    folder: Path, connections: int = CONNECTIONS, blocked_s: float = BLOCKED_S, bound_bytes: int = BOUND_BYTES
) -> Group:
    """The rows."""
    # The lease as always, since nobody stops the manager here.
    args = "--lease-s", str(DEFAULTS.lease_s), "--queues-max-bytes", str(bound_bytes)
    async with (
        feeding(folder) as feed,
        staged(folder) as stage,
        managing(folder, "manager", stage.sidecar.grpc_port, *args) as manager,
    ):
        redis = stage.redis
        topic = Topic(redis.port)
        urls = [feed.url(f"burst/{WITHOUT_END}/{number}") for number in range(connections)]
        ids = await manager.connect(urls, topic.name, pingIntervalS=20, queueMaxMessages=10_000_000)
        read = Read(Stream(redis.port, topic.name), Stream(redis.port, EVENTS), dict.fromkeys(ids, 0.0))
        async with _watching(manager.pid) as memory:
            for id_ in ids:
                await manager.invoke("send", id=id_, message="go")
            await read.until_after(time.time() + BEFORE_S)
            redis.process.pause()
            await asyncio.sleep(blocked_s)
            redis.process.resume()
            await read.until_after(time.time())
        lost = len(feed.told("closed"))
    about = {"blockedS": blocked_s, "connections": connections, **read.found(), "lost": lost}
    bound, growth = bound_bytes / MIB, (memory.most_bytes - memory.first_bytes) / MIB
    rows = [alone(BOUND, "MiB", [bound]), against(GROWTH, "MiB", [growth], BOUND, [bound])]
    return Group("A blocked broker", rows, about, NOTE.format(**about))


@dataclass
class Read:
    """What has come to Redis. `received`: when the newest frame of each connection was received, in Unix time."""

    frames: Stream
    told: Stream
    received: dict[str, float]
    ledger: Ledger = field(default_factory=Ledger)

    async def until_after(self, at: float) -> None:
        """Read on until of each connection there is a frame that was received after this time."""
        async with asyncio.timeout(PATIENCE_S):
            while min(self.received.values()) <= at:
                await asyncio.to_thread(self._read)
                await asyncio.sleep(LOOK_EVERY_S)

    def found(self) -> dict[str, int]:
        """What is to be said of it."""
        wrong = 0
        try:
            self.ledger.check_sequences()
        except AssertionError as error:
            wrong = len(str(error).splitlines())
        gaps = len(self.ledger.told("gap"))
        return {"frames": self.ledger.frames, "wrong": wrong, "gaps": gaps, "repeats": self.frames.repeats}

    def _read(self) -> None:
        for event in (*self.told.fresh(), *self.frames.fresh()):
            self.ledger.take_event(event)
            if event["type"] == FRAME:
                data = event["data"]
                self.received[data["websocketId"]] = seconds(data["timestamp"])


@dataclass
class Memory:
    """Resident memory of a process, at first and at most."""

    first_bytes: int
    most_bytes: int


@asynccontextmanager
async def _watching(pid: int) -> AsyncIterator[Memory]:
    """Look at a process during the block."""
    process = psutil.Process(pid)
    memory = Memory(process.memory_info().rss, 0)

    async def look() -> None:
        while True:
            memory.most_bytes = max(memory.most_bytes, process.memory_info().rss)
            await asyncio.sleep(LOOK_EVERY_S)

    looking = asyncio.create_task(look())
    try:
        yield memory
    finally:
        looking.cancel()
