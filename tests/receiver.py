"""An HTTP server that takes CloudEvents, and fails as it is told to."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiohttp import web

Answer = Callable[[web.Request], Any]


class Message(NamedTuple):
    headers: dict[str, str]
    body: bytes


class Receiver:
    """An HTTP server that keeps what it gets and answers with `answers` first, then with 204."""

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Message] = []
        self.accepted: list[str] = []
        self.answers: list[Answer | None] = []
        self.connections: set[Any] = set()

    async def take(self, request: web.Request) -> web.StreamResponse:
        headers = {key.lower(): value for key, value in request.headers.items()}
        body = await request.read()
        self.requests.append(Message(headers, body))
        self.connections.add(request.transport)
        how = self.answers.pop(0) if self.answers else None
        answer: web.Response | None = await how(request) if how is not None else None
        if answer is None:
            answer = web.Response(status=204)
        if answer.status < 300 and request.transport is not None and not request.transport.is_closing():
            self.accepted.append(headers.get("ce-id") or json.loads(body)["id"])
        return answer


def status(code: int, **headers: str) -> Answer:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=code, headers=headers, text="a body")

    return answer


async def hang_up(request: web.Request) -> None:
    assert request.transport is not None
    request.transport.abort()


@asynccontextmanager
async def receiver(port: int = 0) -> AsyncIterator[Receiver]:
    found = Receiver()
    app = web.Application(client_max_size=1 << 30)
    app.router.add_route("*", "/{path:.*}", found.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    found.url = f"http://user:pass@127.0.0.1:{runner.addresses[0][1]}/in?key=secret"
    try:
        yield found
    finally:
        await runner.cleanup()
