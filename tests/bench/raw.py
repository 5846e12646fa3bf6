"""The library alone: websockets on uvloop, reading and counting. Prints time and count after every 1,000 frames."""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop
from websockets.asyncio.client import connect

count = 0


async def follow(url: str) -> None:
    global count  # noqa: PLW0603 - the cheapest way to count
    async with connect(url, compression=None, max_queue=1, ping_interval=None) as socket:
        while True:
            await socket.recv()
            count += 1
            if count % 1000 == 0:
                print(time.monotonic(), count, flush=True)  # noqa: T201 - what it is for


async def main(urls: list[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(follow(url))


uvloop.run(main(sys.argv[1:]))
