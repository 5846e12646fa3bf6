"""The feed of the acceptance tests, with groups of connections that it feeds as it is told.

`/paced/GROUP/BYTES/…` gets numbered messages of that size while its group has a rate: frames a second over all of its
connections, in turn. `/gated/GROUP/BYTES/…` gets one message for ever, like `/flood/BYTES/…`, once its group is let go.
If they are many, each gets little at a time, and more when a ping at its end is answered: else the kernel would hold a
quarter of a megabyte for each, which a loop reads from all of them before it does anything else, for many seconds.
`/control/…` takes messages: `pace GROUP RATE`, with 0 a group rests, and `open GROUP`.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import uvloop
from websockets.asyncio.client import ClientConnection, connect

from tests.acceptance.feed import ROOT, Feed, FeedProcess
from tests.peers import PING, PONG, TEXT, Talk, frame, until

TICK_S = 0.001
MANY, LITTLE_BYTES = 10, 16 * 1024
NO_ROUNDS_S = 36_000  # between the numbers that the feed counts for others


@dataclass
class Paced:
    """Connections that are fed in turn. `size`: of their messages, in bytes."""

    size: int = 0
    talks: list[Talk] = field(default_factory=list)
    feeding: asyncio.Task[None] | None = None
    number: int = 0

    def pace(self, rate: float) -> None:
        """From now on at this rate."""
        if self.feeding is not None:
            self.feeding.cancel()
        self.feeding = asyncio.create_task(self._feed(rate)) if rate else None

    async def _feed(self, rate: float) -> None:
        start, sent = time.monotonic(), 0
        while True:
            await asyncio.sleep(TICK_S)
            due = int((time.monotonic() - start) * rate)
            for _ in range(due - sent):
                self._send()
            sent = due

    def _send(self) -> None:
        round_, place = divmod(self.number, len(self.talks))
        head = b"%d %.6f " % (round_, time.time())
        self.talks[place].writer.write(frame(TEXT, head.ljust(self.size, b".")))
        self.number += 1


@dataclass
class Gate:
    """What keeps the connections of a group from being flooded, and how many they are."""

    opened: asyncio.Event = field(default_factory=asyncio.Event)
    connections: int = 0


class PacedFeed(Feed):
    """The side of the feed's process."""

    def __init__(self) -> None:
        super().__init__(NO_ROUNDS_S)
        self.groups: dict[str, Paced] = defaultdict(Paced)
        self.gates: dict[str, Gate] = defaultdict(Gate)

    async def listen(self, talk: Talk, path: str, burst: int) -> None:
        _, kind, group, *more = path.split("/")
        if kind == "control":
            await self.obey(talk)
        if kind == "gated":
            self.gates[group].connections += 1
            await self.gates[group].opened.wait()
            await (self.feed if self.gates[group].connections > MANY else self.flood)(talk, int(more[0]))
        if kind == "paced":
            self.groups[group].size = int(more[0])
            self.groups[group].talks.append(talk)
        await super().listen(talk, path, burst)

    async def feed(self, talk: Talk, size: int) -> None:
        """Send one message for ever, at the speed of the reader."""
        message = frame(TEXT, b"x" * size)
        chunk = message * (LITTLE_BYTES // len(message) + 1) + frame(PING)
        await talk.write(chunk)
        while True:
            await talk.write(chunk)
            await talk.read_until(PONG)

    async def obey(self, talk: Talk) -> None:
        """Do as the bench says, for ever."""
        while True:
            match (await talk.read_until(TEXT)).decode().split():
                case ["pace", group, rate]:
                    self.groups[group].pace(float(rate))
                case ["open", group]:
                    self.gates[group].opened.set()
                case unknown:
                    raise ValueError(unknown)


class PacedFeedProcess(FeedProcess):
    """The side of the bench."""

    control: ClientConnection

    def paced(self, group: str, frame_bytes: int, count: int) -> list[str]:
        """Addresses for the connections of a group that is fed at a rate."""
        return [self.url(f"paced/{group}/{frame_bytes}/{number}") for number in range(count)]

    def gated(self, group: str, frame_bytes: int, count: int) -> list[str]:
        """Addresses for the connections of a group that is flooded, once it is let go."""
        return [self.url(f"gated/{group}/{frame_bytes}/{number}") for number in range(count)]

    async def open(self, group: str, count: int) -> None:
        """Let a group go, once and for all, when so many connections of it are there."""
        await self.until_open(f"/gated/{group}/", count)
        await self.control.send(f"open {group}")

    async def until_open(self, path: str, count: int) -> None:
        """Wait until there are so many connections whose path begins so."""
        await until(lambda: sum(each["opened"].startswith(path) for each in self.told("opened")) >= count, path)

    @asynccontextmanager
    async def pacing(self, group: str, rate: float) -> AsyncIterator[None]:
        """Feed a group during the block."""
        await self.control.send(f"pace {group} {rate}")
        try:
            yield
        finally:
            await self.control.send(f"pace {group} 0")


@asynccontextmanager
async def pacing_feed(folder: Path) -> AsyncIterator[PacedFeedProcess]:
    """Run a feed."""
    with (folder / "feed.ndjson").open("wb") as out:
        command = [sys.executable, "-m", "tests.bench.paced_feed"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, cwd=ROOT)
    feed = PacedFeedProcess(folder, process)
    try:
        await until(lambda: feed.told("port") or process.poll() is not None, "the feed listens")
        (listening,) = feed.told("port")
        feed.port = listening["port"]
        async with connect(feed.url("control/0"), proxy=None) as feed.control:
            yield feed
    finally:
        feed.close()


if __name__ == "__main__":
    uvloop.run(PacedFeed().run())
