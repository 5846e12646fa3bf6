"""What one writes first on a sidecar: receive, `await publish_event` of the SDK, one after the other, for each URL.

Several URLs: one such loop for each in one process, with one client. Arguments: pub/sub, topic, and the URLs. The ports
of the sidecar come from the environment, as the SDK reads them. No pings, and no limit to the handshake, since the feed
does not read while it floods, and the bench stops programs between their turns.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime

import uvloop
from dapr.aio.clients import DaprClient
from websockets.asyncio.client import connect


async def follow(client: DaprClient, pubsub: str, topic: str, url: str) -> None:
    async with connect(url, open_timeout=None, ping_interval=None) as socket:
        async for message in socket:
            data = {"websocketUrl": url, "timestamp": datetime.now(UTC).isoformat(), "payload": message}
            await client.publish_event(pubsub, topic, json.dumps(data), data_content_type="application/json")


async def main(pubsub: str, topic: str, urls: list[str]) -> None:
    async with DaprClient() as client, asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(follow(client, pubsub, topic, url))


pubsub, topic, *urls = sys.argv[1:]
uvloop.run(main(pubsub, topic, urls))
