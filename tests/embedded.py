"""The whole embedded manager in this process, with a sink in hand and an HTTP client at its endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from runtime.embedded import Embedded, start_embedded
from runtime.models.events import Event
from runtime.settings import Settings
from tests.peers import until

INVOKE = "/v1.0/invoke/websocket-handlers/method/"
PUBLISH = "/v1.0/publish/pubsub/"


class Observed:
    """An Observer that remembers."""

    def __init__(self) -> None:
        self.logs: list[tuple[str, dict[str, object]]] = []
        self.warnings: list[tuple[str, dict[str, object]]] = []

    def log(self, event: str, **fields: object) -> None:
        self.logs.append((event, fields))

    def warn(self, event: str, **fields: object) -> None:
        self.warnings.append((event, fields))


class SinkInHand:
    """Keeps what arrives. `before` is awaited before each call, with its events."""

    lanes = 2

    def __init__(self, before: Callable[[Sequence[Event]], Awaitable[None]] | None = None) -> None:
        self.before = before
        self.events: list[Event] = []
        self.documents: list[dict[str, Any]] = []
        self.is_closed = False

    async def write(self, events: Sequence[Event], documents: Sequence[bytes]) -> None:
        if self.before is not None:
            await self.before(events)
        self.events.extend(events)
        self.documents.extend(json.loads(document) for document in documents)

    async def close(self) -> None:
        self.is_closed = True

    def data(self, kind: str) -> list[dict[str, Any]]:
        return [document["data"] for document in self.documents if document["type"].endswith(f".{kind}")]

    def statuses(self) -> list[str]:
        return [data["status"] for data in self.data("status")]

    def on(self, topic: str) -> list[dict[str, Any]]:
        return [document for document in self.documents if document["topic"] == topic]


class Called:
    """A running manager as its callers see it."""

    def __init__(self, manager: Embedded, session: aiohttp.ClientSession, sink: SinkInHand, observed: Observed) -> None:
        self.manager, self.session, self.sink, self.observed = manager, session, sink, observed
        self.base = f"http://127.0.0.1:{manager.endpoint.port}"

    async def call(self, verb: str, path: str, **how: Any) -> tuple[int, Any]:
        """Status and answer, which is JSON wherever there is one."""
        async with self.session.request(verb, self.base + path, **how) as answer:
            text = await answer.read()
            return answer.status, json.loads(text) if text else None

    async def invoke(self, method: str, **body: Any) -> Any:
        status, answer = await self.call("POST", INVOKE + method, json=body)
        assert status == 200, answer
        return answer

    async def publish(self, topic: str, data: bytes | str, content_type: str | None = "application/json", **how: Any):
        headers = {**({"Content-Type": content_type} if content_type else {}), **how.pop("headers", {})}
        skip = {} if content_type else {"skip_auto_headers": ["Content-Type"]}
        return await self.call("POST", PUBLISH + topic, data=data, headers=headers, **skip, **how)

    async def until(self, condition: Callable[[], object], what: str) -> None:
        await until(condition, what)


@asynccontextmanager
async def embedded(folder: Path, sink: SinkInHand | None = None, **settings: Any) -> AsyncIterator[Called]:
    sink, observed = sink or SinkInHand(), Observed()
    chosen = Settings(**{"data": folder, "port": 0, "allow_private": True, **settings})
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        start_embedded(chosen, observed, sink) as manager,
    ):
        yield Called(manager, session, sink, observed)
