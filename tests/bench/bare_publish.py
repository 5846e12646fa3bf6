"""One awaited `PublishEvent` after the other, at a steady rate, and nothing else. Prints the seconds that each took.

Arguments: the sidecar's gRPC port, pub/sub, topic, how many, how many a second, and the event to publish. Its payload
is a number, counted on here, and the time of the call, as in the frames of the feed.
"""

from __future__ import annotations

import asyncio
import sys
import time

import grpc
import orjson
import uvloop
from dapr.proto.runtime.v1.pubsub_pb2 import PublishEventRequest
from google.protobuf.empty_pb2 import Empty


async def main(port: str, pubsub: str, topic: str, count: int, rate: float, document: str) -> None:
    event = orjson.loads(document)
    first = int(event["data"]["payload"].split()[0])
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)]) as channel:
        publish = channel.unary_unary(
            "/dapr.proto.runtime.v1.Dapr/PublishEvent",
            request_serializer=PublishEventRequest.SerializeToString,
            response_deserializer=Empty.FromString,
        )
        start = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0, start + number / rate - time.monotonic()))
            began = time.time()
            event["data"]["payload"] = f"{first + number} {began:.6f}"
            request = PublishEventRequest(
                pubsub_name=pubsub,
                topic=topic,
                data=orjson.dumps(event),
                data_content_type="application/cloudevents+json",
            )
            await publish(request, timeout=10)
            print(time.time() - began)  # noqa: T201 - what it is for


port, pubsub, topic, count, rate, document = sys.argv[1:]
uvloop.run(main(port, pubsub, topic, int(count), float(rate), document))
