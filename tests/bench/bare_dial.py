"""The library's dial alone, again and again, each socket closed before the next. Prints the seconds that each took.

Arguments: the URL, how many, how many a second.
"""

from __future__ import annotations

import asyncio
import sys
import time

import uvloop
from websockets.asyncio.client import connect


async def main(url: str, count: int, rate: float) -> None:
    for _ in range(count):
        await asyncio.sleep(1 / rate)
        began = time.time()
        async with connect(url, compression=None, proxy=None, ping_interval=None):
            print(time.time() - began)  # noqa: T201 - what it is for


url, count, rate = sys.argv[1:]
uvloop.run(main(url, int(count), float(rate)))
