"""Programs that read a flooding feed in turns: the library alone, and those that publish to a null sidecar."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runtime.models.envelope import EnvelopeEncoder
from runtime.models.events import FRAMES, SOURCE, CloudEventEncoder, Event
from runtime.models.options import WebSocketOptions
from tests.bench.null_sidecar import NullSidecar
from tests.bench.paced_feed import PacedFeedProcess
from tests.bench.references import running
from tests.bench.staged import PUBSUB, managing
from tests.bench.turns import Counter, Program, Told

TOPIC = "bench"
RAW, MESSAGE, BATCH, PICOWS, CALLS = "raw", "message", "batch", "picows", "calls"
OPTIONS: Mapping[str, Mapping[str, Any]] = {MESSAGE: {}, BATCH: {"delivery": "batch"}}
TOLD_BYTES = 200_000  # the library alone tells after so much: a hundred times a second or more


@dataclass(frozen=True)
class Shape:
    """What the feed sends."""

    connections: int
    frame_bytes: int

    def __str__(self) -> str:
        size = f"{self.frame_bytes // 1024} KiB" if self.frame_bytes >= 1024 else f"{self.frame_bytes} B"
        return f"{self.connections:,} connection{'s' if self.connections > 1 else ''}, {size}"


@dataclass
class Programs:
    """Starts them; each is connected and stopped then. They end with `stack`."""

    folder: Path
    feed: PacedFeedProcess
    null: NullSidecar
    stack: AsyncExitStack
    _count: int = 0

    async def start(self, kind: str, shape: Shape) -> Program:
        """Start one."""
        self._count += 1
        group = f"{self.folder.name}-{self._count}"
        urls = self.feed.gated(group, shape.frame_bytes, shape.connections)
        out, port = self.folder / f"{self._count}.out", str(self.null.port)
        counter: Counter = self.null
        if kind in OPTIONS:
            manager = await self.stack.enter_async_context(managing(self.folder, f"m{self._count}", self.null.port))
            await manager.connect(urls, TOPIC, **OPTIONS[kind])
            pid = manager.pid
        elif kind == RAW:
            counter = Told(out)
            every = str(max(1, TOLD_BYTES // shape.frame_bytes))
            pid = await self.stack.enter_async_context(running("raw", every, *urls, out=out))
        elif kind == PICOWS:
            pid = await self.stack.enter_async_context(running("bare_picows", port, PUBSUB, TOPIC, *urls, out=out))
        else:
            event = self.folder / "event.json"
            event.write_bytes(_batch(shape.frame_bytes, urls[0]))
            pid = await self.stack.enter_async_context(
                running("bare_bulk", port, PUBSUB, TOPIC, "1", str(event), out=out)
            )
        await self.feed.open(group, shape.connections if kind != CALLS else 0)
        return await Program(pid, counter).ready()


def _batch(frame_bytes: int, url: str) -> bytes:
    """An event as full as the manager makes it."""
    options, id_, epoch = WebSocketOptions(), "0" * 32, 1_700_000_000
    encode = EnvelopeEncoder(id_, url, epoch).stamped("2026-01-01T00:00:00.000000Z")
    envelopes, room = [encode("x" * frame_bytes, 1)], options.batch_max_bytes
    while len(envelopes) < min(options.batch_max_messages, room // (len(envelopes[0]) + 1)):
        envelopes.append(encode("x" * frame_bytes, len(envelopes) + 1))
    data = b"[%b]" % b",".join(envelopes)
    event = Event(f"{id_}.{epoch}.1-{len(envelopes)}", TOPIC, FRAMES, id_, "2026-01-01T00:00:00.000000Z", data)
    return CloudEventEncoder(SOURCE, PUBSUB).encode(event)
