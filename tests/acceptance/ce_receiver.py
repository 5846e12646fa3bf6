"""A receiver of CloudEvents in a process of its own, built with the CloudEvents SDK: it writes down what arrives.

Of every hundred requests it refuses one with 503, takes one and hangs up before it has answered, and takes its time for
one: a sender must try again, may send twice, and must wait.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from aiohttp import web
from cloudevents.http import from_http

from tests.processes import Process, free_ports, is_open

ROOT = Path(__file__).parents[2]
REFUSES, HANGS_UP, IS_SLOW = 17, 41, 67  # of a hundred
SLOW_S = 0.5


async def serve(port: int, file: Path) -> None:
    """Serve until killed, or until the process that started it is gone."""
    out = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    numbers, parent = count(1), os.getppid()

    async def take(request: web.Request) -> web.StreamResponse:
        turn = next(numbers) % 100
        if turn == REFUSES:
            raise web.HTTPServiceUnavailable
        if turn == IS_SLOW:
            await asyncio.sleep(SLOW_S)
        os.write(out, read(request.headers, await request.read()))
        if turn == HANGS_UP and request.transport is not None:
            request.transport.abort()
        return web.Response(status=202)

    app = web.Application()
    app.router.add_post("/in", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    while os.getppid() == parent:
        await asyncio.sleep(1)


def read(headers: Mapping[str, str], body: bytes) -> bytes:
    """One line about one event, as the SDK reads it."""
    event = from_http({key.lower(): value for key, value in headers.items()}, body)
    is_binary = "ce-id" in {key.lower() for key in headers}
    found = {**event.get_attributes(), "data": event.data, "mode": "binary" if is_binary else "structured"}
    return json.dumps(found).encode() + b"\n"


class ReceiverProcess(Process):
    """The side of the test: it keeps its port and its file over a restart."""

    def __init__(self, folder: Path) -> None:
        (port,) = free_ports(1)
        self.file, self.url = folder / "received.ndjson", f"http://127.0.0.1:{port}/in"
        self.file.touch()
        command = [sys.executable, "-m", "tests.acceptance.ce_receiver", str(port), str(self.file)]
        env = {"PYTHONPATH": str(ROOT)}
        super().__init__("receiver", command, folder, lambda: is_open(port), env=env)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
