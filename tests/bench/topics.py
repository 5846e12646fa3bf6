"""What is in the stream of a topic, as Redis counts it, never as the program says that has published."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from tests.acceptance.dapr.streams import ask
from tests.acceptance.feed import sent_at

KEPT = 200  # entries that trimming leaves
TRIM_EVERY_S = 0.2
BY_SIDECAR = frozenset({"traceid", "traceparent", "tracestate"})  # what it adds to an event


class Topic:
    """A stream of its own, by a new name. As a Counter it counts events."""

    def __init__(self, port: int) -> None:
        self.port, self.name = port, f"bench-{uuid4().hex}"

    async def mark(self) -> int:
        return await asyncio.to_thread(self._events)

    def between(self, first: int, last: int) -> int:
        return last - first

    def take_all(self) -> list[tuple[float, float]]:
        """When each frame of the paced feed was sent, and when its event arrived; nothing is left of them.

        An entry's id has whole milliseconds, of which it was half a one on average.
        """
        entries = ask(self.port, "XRANGE", self.name, "-", "+")
        ask(self.port, "XTRIM", self.name, "MAXLEN", "0")
        return [(_sent(fields), int(id_.partition(b"-")[0]) / 1000 + 0.0005) for id_, fields in entries]

    def bare_event(self, folder: Path) -> Path:
        """A file with the newest event as it was before the sidecar added to it."""
        event = {key: value for key, value in self.newest().items() if key not in BY_SIDECAR}
        (path := folder / f"{self.name}.json").write_bytes(orjson.dumps(event))
        return path

    def newest(self) -> Any:
        """The newest event, or the array of envelopes that was published without an event around it."""
        ((_, fields),) = ask(self.port, "XREVRANGE", self.name, "+", "-", "COUNT", "1")
        return orjson.loads(fields[fields.index(b"data") + 1])

    @asynccontextmanager
    async def trimmed(self) -> AsyncIterator[None]:
        """Keep only its end in memory during the block."""
        trimming = asyncio.create_task(self._trim())
        try:
            yield
        finally:
            trimming.cancel()

    async def _trim(self) -> None:
        while True:
            await asyncio.to_thread(ask, self.port, "XTRIM", self.name, "MAXLEN", "~", str(KEPT))
            await asyncio.sleep(TRIM_EVERY_S)

    def _events(self) -> int:
        """How many were ever added, before the first too."""
        if not ask(self.port, "EXISTS", self.name):
            return 0
        about = ask(self.port, "XINFO", "STREAM", self.name)
        return dict(zip(about[::2], about[1::2], strict=True))[b"entries-added"]


def _sent(fields: list[bytes]) -> float:
    return sent_at(orjson.loads(fields[fields.index(b"data") + 1])["data"]["payload"])[1]


class BatchTopic(Topic):
    """The stream of one connection that publishes in batches: counts envelopes, by the sequence of the newest."""

    async def mark(self) -> int:
        if not await super().mark():
            return 0
        newest = await asyncio.to_thread(self.newest)
        return (newest if isinstance(newest, list) else newest["data"])[-1]["sequence"]
