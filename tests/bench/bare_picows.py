"""What another reader would give: picows, the same envelopes, the same batches in the same calls, and nothing else.

No guard, no masking beyond the envelope's, no record, no gaps, no bound but one. Arguments: the sidecar's gRPC port,
pub/sub, topic, and the URL.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime

import grpc
import uvloop
from dapr.proto.runtime.v1.pubsub_pb2 import BulkPublishRequest, BulkPublishRequestEntry, BulkPublishResponse
from picows import WSFrame, WSListener, WSTransport, ws_connect

from runtime.models.envelope import EnvelopeEncoder
from runtime.models.events import FRAMES, SOURCE, CloudEventEncoder, Event
from runtime.models.options import WebSocketOptions
from runtime.models.wire import format_time

QUEUED = 10_000
CONNECTION, EPOCH = "0" * 32, 1_700_000_000  # as long as those of a manager
CLOUD_EVENT = "application/cloudevents+json"
OPTIONS = WebSocketOptions()


class Reader(WSListener):
    """Puts frames into envelopes, and reads no more while there are too many."""

    def __init__(self, url: str) -> None:
        self._encoder = EnvelopeEncoder(CONNECTION, url, EPOCH)
        self._encode: Callable[[str | bytes, int], bytes] | None = None
        self._transport: WSTransport | None = None
        self._is_paused = False
        self.sequence = 0
        self.waiting: deque[bytes] = deque()
        self.come = asyncio.Event()

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if self._encode is None:
            self._encode = self._encoder.stamped(format_time(datetime.now(UTC)))
        self.sequence += 1
        self.waiting.append(self._encode(frame.get_payload_as_utf8_text(), self.sequence))
        if frame.last_in_buffer:
            self._encode = None
            self.come.set()
            if len(self.waiting) >= QUEUED and not self._is_paused:
                self._is_paused, self._transport = True, transport
                transport.underlying_transport.pause_reading()

    def take(self) -> list[bytes]:
        """What goes into one event; what stands first was numbered first."""
        batch: list[bytes] = []
        room = OPTIONS.batch_max_bytes
        while self.waiting and len(batch) < OPTIONS.batch_max_messages:
            room -= len(self.waiting[0]) + 1
            if batch and room < 0:
                break
            batch.append(self.waiting.popleft())
        if self._is_paused and len(self.waiting) < QUEUED and self._transport is not None:
            self._is_paused = False
            self._transport.underlying_transport.resume_reading()
        return batch


async def main(port: str, pubsub: str, topic: str, url: str) -> None:
    encode, published = CloudEventEncoder(SOURCE, pubsub).encode, 0
    reader = Reader(url)
    await ws_connect(lambda: reader, url)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        publish = channel.unary_unary(
            "/dapr.proto.runtime.v1.Dapr/BulkPublishEvent",
            request_serializer=BulkPublishRequest.SerializeToString,
            response_deserializer=BulkPublishResponse.FromString,
        )
        while True:
            while not (batch := reader.take()):
                reader.come.clear()
                await reader.come.wait()
            first, published = published + 1, published + len(batch)
            id_ = f"{CONNECTION}.{EPOCH}.{first}-{published}"
            data = b"[%b]" % b",".join(batch)
            event = encode(Event(id_, topic, FRAMES, CONNECTION, format_time(datetime.now(UTC)), data))
            entry = BulkPublishRequestEntry(entry_id="0", event=event, content_type=CLOUD_EVENT)
            await publish(BulkPublishRequest(pubsub_name=pubsub, topic=topic, entries=[entry]), timeout=30)


if __name__ == "__main__":
    port, pubsub, topic, url = sys.argv[1:]
    uvloop.run(main(port, pubsub, topic, url))
