"""The command `wsm` in this process, and a manager and other servers for it to speak to, on threads of their own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Coroutine, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Self, TypeVar
from urllib.request import Request, urlopen

from typer.testing import CliRunner

from runtime.cli import app
from runtime.embedded import Embedded, start_embedded
from runtime.feed import Feed, local_feed
from runtime.models.events import Event
from runtime.settings import Settings

T = TypeVar("T")
R = TypeVar("R")
PATIENCE_S = 20.0
CLEAN = {name: None for name in os.environ if name.upper().startswith(("WSM_", "DAPR_", "K_SINK"))}


class Result:
    """What a command did. Tests assert on code and streams: the runner keeps what it raised."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr

    def json(self) -> Any:
        return json.loads(self.stdout)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.stdout.splitlines()]


def wsm(*args: str, port: int | None = None, stdin: bytes | None = None, **env: Any) -> Result:
    """Run a command against a port of the loopback interface."""
    variables = {**CLEAN, "DAPR_HTTP_PORT": None if port is None else str(port), **env}
    result = CliRunner(env=variables).invoke(app, list(args), input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


class Quiet:
    def log(self, event: str, **fields: object) -> None:
        pass

    def warn(self, event: str, **fields: object) -> None:
        pass


class NoSink:
    lanes = 1

    async def write(self, events: Sequence[Event], documents: Sequence[bytes]) -> None:
        pass

    async def close(self) -> None:
        pass


class Background(Generic[T]):
    """An async context that lives on a thread with its own loop."""

    value: T

    def __init__(self, context: AbstractAsyncContextManager[T]) -> None:
        self._context = context
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.result(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        """Leave the context, now."""
        with suppress(RuntimeError):  # the loop is closed: it was left before
            self._loop.call_soon_threadsafe(self._stop.set)

    def do(self, coroutine: Coroutine[Any, Any, R]) -> R:
        """Run a coroutine over there and wait for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)

    async def _live(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self._context as self.value:
                self._ready.set_result(None)
                await self._stop.wait()
        except BaseException as error:
            if self._ready.done():
                raise
            self._ready.set_exception(error)


@dataclass
class World:
    """A manager, and a feed that it may dial."""

    manager: Embedded
    feed: Feed

    @property
    def port(self) -> int:
        return self.manager.endpoint.port


@asynccontextmanager
async def world(folder: Path, interval_s: float = 0.05, **settings: Any) -> AsyncIterator[World]:
    wanted = {"data": folder, "port": 0, "allow_private": True, "instance_id": "me", **settings}
    async with local_feed(interval_s) as feed, start_embedded(Settings(**wanted), Quiet(), NoSink()) as manager:
        yield World(manager, feed)


@asynccontextmanager
async def raw_server(answer: bytes | None, asked: threading.Event | None = None) -> AsyncIterator[int]:
    """A port where something answers these bytes to whatever is asked, or never (None). `asked` is set then."""

    talks: set[asyncio.Task[Any]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talks.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await reader.readuntil(b"\r\n\r\n")
            if asked is not None:
                asked.set()
            if answer is None:
                await reader.read()
            writer.write(answer or b"")
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for talk in talks:
            talk.cancel()
        await asyncio.gather(*talks, return_exceptions=True)


def http(body: bytes, status: str = "200 OK", headers: bytes = b"") -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n%b\r\n" % (status.encode(), len(body), headers)
    return head + body


def connect(here: World, id_: str, *args: str) -> None:
    """Make a connection to the feed, and wait until it is Connected."""
    result = wsm("connect", here.feed.url, "--id", id_, "--auto-reconnect", "--wait", *args, port=here.port)
    assert result.code == 0, result.stderr


def publish(port: int, topic: str, **document: Any) -> None:
    """What an application sends to a topic."""
    url = f"http://127.0.0.1:{port}/v1.0/publish/pubsub/{topic}"
    request = Request(url, json.dumps(document).encode(), {"Content-Type": "application/json"})
    with urlopen(request) as answer:
        assert answer.status == 204


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
