"""Bulk calls alone: the same as a manager's, of events made beforehand, while the feed is read and discarded.

The sockets are dealt evenly to lanes. A lane has one call in flight, with one event for each of its sockets, and reads
as many frames from each meanwhile as it publishes for it. Without URLs there is one lane that only publishes, one event
in a call. Arguments: the sidecar's gRPC port, pub/sub, topic, lanes, a file with the event, and the URLs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import uvloop
from dapr.proto.runtime.v1.pubsub_pb2 import BulkPublishRequest, BulkPublishRequestEntry, BulkPublishResponse
from websockets.asyncio.client import ClientConnection, connect

CLOUD_EVENT = "application/cloudevents+json"


async def read(sockets: Sequence[ClientConnection]) -> None:
    """One frame of each."""
    for socket in sockets:
        await socket.recv()


async def run(publish: grpc.aio.UnaryUnaryMultiCallable, request: BulkPublishRequest, urls: Sequence[str]) -> None:
    """One lane."""
    sockets = [await connect(url, compression=None, max_queue=1, open_timeout=None, ping_interval=None) for url in urls]
    while True:
        reading = asyncio.create_task(read(sockets))
        await publish(request, timeout=30)
        await reading


async def main(port: str, pubsub: str, topic: str, lanes: int, event: bytes, urls: Sequence[str]) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        publish = channel.unary_unary(
            "/dapr.proto.runtime.v1.Dapr/BulkPublishEvent",
            request_serializer=BulkPublishRequest.SerializeToString,
            response_deserializer=BulkPublishResponse.FromString,
        )
        async with asyncio.TaskGroup() as group:
            for lane in range(min(lanes, max(1, len(urls)))):
                its_urls = urls[lane::lanes]
                entries = [
                    BulkPublishRequestEntry(entry_id=str(number), event=event, content_type=CLOUD_EVENT)
                    for number in range(max(1, len(its_urls)))
                ]
                request = BulkPublishRequest(pubsub_name=pubsub, topic=topic, entries=entries)
                group.create_task(run(publish, request, its_urls))


if __name__ == "__main__":
    port, pubsub, topic, lanes, path, *urls = sys.argv[1:]
    uvloop.run(main(port, pubsub, topic, int(lanes), Path(path).read_bytes(), urls))
