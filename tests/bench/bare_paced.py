"""Bulk calls of what comes, and nothing else: a manager's lanes and calls without a manager.

The sockets are dealt evenly to lanes; a lane has one call in flight, with the oldest frame of each socket that has one,
put into an event that was made beforehand. Arguments: the sidecar's gRPC port, pub/sub, topic, lanes, a file with the
event whose payload is to be replaced, and the URLs.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import grpc
import orjson
import uvloop
from dapr.proto.runtime.v1.pubsub_pb2 import BulkPublishRequest, BulkPublishRequestEntry, BulkPublishResponse
from websockets.asyncio.client import connect

CLOUD_EVENT = "application/cloudevents+json"


class Lane:
    """Reads its sockets and publishes."""

    def __init__(self, publish: grpc.aio.UnaryUnaryMultiCallable, pubsub: str, topic: str, around: list[bytes]) -> None:
        self._publish, self._pubsub, self._topic = publish, pubsub, topic
        self._before, self._after = around
        self._waiting: list[deque[str]] = []
        self._come = asyncio.Event()

    async def run(self, urls: Sequence[str]) -> None:
        async with asyncio.TaskGroup() as group:
            for url in urls:
                waiting: deque[str] = deque()
                self._waiting.append(waiting)
                group.create_task(self._read(url, waiting))
            while True:
                await self._come.wait()
                self._come.clear()
                while heads := [waiting.popleft() for waiting in self._waiting if waiting]:
                    await self._publish(self._request(heads), timeout=30)

    async def _read(self, url: str, waiting: deque[str]) -> None:
        async with connect(url, compression=None, proxy=None, open_timeout=None, ping_interval=None) as socket:
            async for message in socket:
                assert isinstance(message, str)
                waiting.append(message)
                self._come.set()

    def _request(self, payloads: Sequence[str]) -> BulkPublishRequest:
        entries = [
            BulkPublishRequestEntry(
                entry_id=str(number),
                event=b"%b%b%b" % (self._before, orjson.dumps(payload), self._after),
                content_type=CLOUD_EVENT,
            )
            for number, payload in enumerate(payloads)
        ]
        return BulkPublishRequest(pubsub_name=self._pubsub, topic=self._topic, entries=entries)


async def main(port: str, pubsub: str, topic: str, lanes: int, around: list[bytes], urls: Sequence[str]) -> None:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        publish = channel.unary_unary(
            "/dapr.proto.runtime.v1.Dapr/BulkPublishEvent",
            request_serializer=BulkPublishRequest.SerializeToString,
            response_deserializer=BulkPublishResponse.FromString,
        )
        async with asyncio.TaskGroup() as group:
            for number in range(min(lanes, len(urls))):
                group.create_task(Lane(publish, pubsub, topic, around).run(urls[number::lanes]))


if __name__ == "__main__":
    port, pubsub, topic, lanes, path, *urls = sys.argv[1:]
    event = Path(path).read_bytes()
    around = event.split(orjson.dumps(orjson.loads(event)["data"]["payload"]))
    uvloop.run(main(port, pubsub, topic, int(lanes), around, urls))
