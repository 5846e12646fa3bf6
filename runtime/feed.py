"""A small WebSocket server of our own that sends numbered messages: what the demonstration dials."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response


@dataclass(slots=True)
class Feed:
    """Counts up for as long as it lives, whoever listens; answers what it is asked with the same `id`."""

    interval_s: float
    number: int = 0
    heard: list[str] = field(default_factory=list)
    server: Server | None = None
    back_at: float = 0

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self.server is not None
        port = self.server.sockets[0].getsockname()[1]
        return f"ws://127.0.0.1:{port}/feed?token=secret"

    def cut(self, away_s: float = 0) -> None:
        """Break every connection, without a close frame, and answer 502 to whoever dials in the next `away_s`."""
        assert self.server is not None
        self.back_at = asyncio.get_running_loop().time() + away_s
        for connection in list(self.server.connections):
            connection.transport.abort()

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Accept the handshake, unless the feed is away."""
        if asyncio.get_running_loop().time() < self.back_at:
            return connection.respond(HTTPStatus.BAD_GATEWAY, "away\n")
        return None

    async def serve_one(self, connection: ServerConnection) -> None:
        """Send numbers and answer questions until the client leaves."""
        sending = asyncio.create_task(self._send(connection))
        try:
            async for message in connection:
                self.heard.append(str(message))
                try:
                    question = orjson.loads(message)
                except orjson.JSONDecodeError:
                    continue
                if isinstance(question, dict) and "id" in question:
                    await connection.send(orjson.dumps({"id": question["id"], "answer": 42}).decode())
        except ConnectionClosed:
            pass
        finally:
            sending.cancel()

    async def _send(self, connection: ServerConnection) -> None:
        sent = 0
        try:
            while True:
                if sent != self.number:
                    sent = self.number
                    await connection.send(orjson.dumps({"n": sent}).decode())
                await asyncio.sleep(self.interval_s / 2)
        except ConnectionClosed:
            return

    async def count(self) -> None:
        """Count until cancelled."""
        while True:
            await asyncio.sleep(self.interval_s)
            self.number += 1


@asynccontextmanager
async def local_feed(interval_s: float) -> AsyncIterator[Feed]:
    """Serve a feed on a free port of the loopback interface."""
    feed = Feed(interval_s)
    async with serve(feed.serve_one, "127.0.0.1", 0, process_request=feed.answer) as server:
        feed.server = server
        counting = asyncio.create_task(feed.count())
        try:
            yield feed
        finally:
            counting.cancel()
