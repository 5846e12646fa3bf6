"""The library alone: websockets on uvloop, reading and counting. Prints the count after every so many frames.

Arguments: how many that is, and the URLs.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from websockets.asyncio.client import connect

count = 0


async def follow(url: str, every: int) -> None:
    global count  # noqa: PLW0603 - the cheapest way to count
    async with connect(url, compression=None, max_queue=1, open_timeout=None, ping_interval=None) as socket:
        while True:
            await socket.recv()
            count += 1
            if count % every == 0:
                print(count, flush=True)  # noqa: T201 - what it is for


async def main(every: int, urls: list[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for url in urls:
            group.create_task(follow(url, every))


every, *urls = sys.argv[1:]
uvloop.run(main(int(every), urls))
