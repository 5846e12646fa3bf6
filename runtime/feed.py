"""A small WebSocket server of our own that sends numbered messages: what the demonstration dials."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed


@dataclass(slots=True)
class Feed:
    """Counts up for as long as it lives, whoever listens; answers what it is asked with the same `id`."""

    interval_s: float
    number: int = 0
    heard: list[str] = field(default_factory=list)
    server: Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self.server is not None
        port = self.server.sockets[0].getsockname()[1]
        return f"ws://127.0.0.1:{port}/feed?token=secret"

    def cut(self) -> None:
        """Break every connection, without a close frame."""
        assert self.server is not None
        for connection in list(self.server.connections):
            connection.transport.abort()

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
    async with serve(feed.serve_one, "127.0.0.1", 0) as server:
        feed.server = server
        counting = asyncio.create_task(feed.count())
        try:
            yield feed
        finally:
            counting.cancel()
