"""A connection whose socket is due, and a feed that never pauses, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from runtime.adapters.memory.sockets import MemorySocket
from tests.unit.world import World

AGE_S = 3600
OPTIONS: dict[str, Any] = {"maxAgeS": AGE_S, "pingIntervalS": 0, "idleTimeoutS": 0}
REASON = "its socket was exchanged for a new one: it is 3600 s old (maxAgeS)"
GOODBYE = {"rotateOn": {"contains": "goodbye"}}
EVERY_S = 0.5


class Feed:
    """Sends the same number to all open sockets; a new socket reads on from there."""

    def __init__(self, world: World) -> None:
        self.world, self.sent = world, 0

    @property
    def open(self) -> list[MemorySocket]:
        return [socket for socket in self.world.dialer.sockets if socket.is_open]

    async def run(self) -> None:
        while True:
            self.sent += 1
            for socket in self.open:
                socket.push(str(self.sent))
            await asyncio.sleep(EVERY_S)

    def check_complete(self) -> None:
        """First arrivals are in order and without a hole, and the numbers of the manager are too."""
        frames = self.world.data("frame")
        assert [frame["sequence"] for frame in frames] == list(range(1, len(frames) + 1))
        first_arrivals = list(dict.fromkeys(int(frame["payload"]) for frame in frames if frame["payload"].isdigit()))
        assert first_arrivals == list(range(first_arrivals[0], first_arrivals[-1] + 1))
        assert first_arrivals[-1] >= self.sent - 2


@asynccontextmanager
async def fed(**options: Any) -> AsyncIterator[tuple[World, Feed]]:
    """A connection that will be due, and a feed that never pauses."""
    async with World().running() as world:
        await world.connect(options=OPTIONS | options)
        feed = Feed(world)
        running = asyncio.create_task(feed.run())
        try:
            yield world, feed
        finally:
            running.cancel()


def blind_gaps(world: World) -> list[dict[str, Any]]:
    return [gap for gap in world.data("gap") if gap["kind"] == "blind"]


def reasons(world: World) -> list[str]:
    return [data["reason"] for data in world.data("status") if data["status"] == "Connected"]


@asynccontextmanager
async def exchanging() -> AsyncIterator[tuple[World, list[MemorySocket]]]:
    """In the middle of an exchange, which waits for an answer on the old socket: the old socket and the new one."""
    async with fed(**GOODBYE) as (world, feed):
        await world.command("request", id="a", message="question", match={"contains": "answer"}, commandId="r")
        await world.settle()
        feed.open[0].push("goodbye")
        await world.settle(2)
        assert len(feed.open) == 2
        yield world, feed.open
