"""The library alone with its defaults: many connections on uvloop, each read for ever, and dialled again when cut.

Arguments: the URL, how many, how many handshakes at a time. Prints a line for each that has connected, and the delay of
each tick of its event loop, as the manager's own meter takes it.
"""

from __future__ import annotations

import asyncio
import sys

import uvloop
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from runtime.adapters.clock import SystemClock
from runtime.adapters.health import LoopLag


async def hold(url: str, slots: asyncio.Semaphore) -> None:
    while True:
        async with slots:
            socket = await connect(url, compression=None)
        sys.stdout.write("connected\n")
        try:
            while True:
                await socket.recv()
        except ConnectionClosed:
            continue


async def main(url: str, count: int, at_once: int) -> None:
    lag = LoopLag(SystemClock(), lambda lag_s: print(lag_s, flush=True))  # noqa: T201 - what it is for
    slots = asyncio.Semaphore(at_once)
    async with asyncio.TaskGroup() as group:
        group.create_task(lag.run())
        for _ in range(count):
            group.create_task(hold(url, slots))


url, count, at_once = sys.argv[1:]
uvloop.run(main(url, int(count), int(at_once)))
