"""When an event is in a Redis stream, to well below a millisecond: the time in an entry's own id is too coarse."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson

from tests.acceptance.dapr.streams import ask

BLOCK_MS = 200
PATIENCE_S = 60


@dataclass(frozen=True)
class Arrival:
    """An event, and the Unix time at which a reader that waits for it has it."""

    event: dict[str, Any]
    at: float


class Arrivals:
    """What enters a stream after this was made, in its order."""

    def __init__(self, port: int, topic: str) -> None:
        self.port, self.topic = port, topic
        newest = ask(port, "XREVRANGE", topic, "+", "-", "COUNT", "1")
        self._last: bytes = newest[0][0] if newest else b"0"
        self._got: deque[Arrival] = deque()

    async def take(self, count: int) -> list[Arrival]:
        """The next ones."""
        async with asyncio.timeout(PATIENCE_S + count):
            return [await self._next() for _ in range(count)]

    async def until(self, **data: object) -> float:
        """The time of the next one whose data says all of this."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                arrival = await self._next()
                if data.items() <= arrival.event["data"].items():
                    return arrival.at

    async def _next(self) -> Arrival:
        while not self._got:
            answer, at = await asyncio.to_thread(self._wait)
            for id_, fields in answer[0][1] if answer else ():
                self._last = id_
                self._got.append(Arrival(orjson.loads(fields[fields.index(b"data") + 1]), at))
        return self._got.popleft()

    def _wait(self) -> tuple[Any, float]:
        """The answer to a read that waits, and when it was there."""
        words = "XREAD", "BLOCK", str(BLOCK_MS), "STREAMS", self.topic, self._last
        return ask(self.port, *words), time.time()
