"""What one writes first: twenty lines, no bounds, no reconnection, no numbering that outlives the process.

No pings, and no limit to the handshake, since the feed does not read while it floods, and the bench stops programs
between their turns.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime

import uvloop
from websockets.asyncio.client import connect


async def follow(url: str) -> None:
    async with connect(url, open_timeout=None, ping_interval=None) as socket:
        async for message in socket:
            now = datetime.now(UTC).isoformat()
            data = {"websocketUrl": url, "timestamp": now, "payload": message}
            event = {"specversion": "1.0", "id": now, "source": "naive", "type": "frame", "time": now, "data": data}
            print(json.dumps(event), flush=True)  # noqa: T201 - what it is for


async def main(urls: list[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(follow(url))


uvloop.run(main(sys.argv[1:]))
