"""A whole manager of the embedded profile in this process, on real sockets, with a sink that keeps what it is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from runtime.embedded import Embedded, start_embedded
from runtime.models.events import Event
from runtime.settings import Settings
from tests.peers import until

QUICK = {"reconnectBaseDelayS": 0.01, "reconnectMaxDelayS": 0.05, "closeTimeoutS": 0.5}


class Quiet:
    def log(self, event: str, **fields: object) -> None:
        pass

    def warn(self, event: str, **fields: object) -> None:
        pass


class Collected:
    """A sink that keeps the documents, and may be blocked."""

    lanes = 4

    def __init__(self) -> None:
        self.documents: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()

    async def write(self, events: Sequence[Event], documents: Sequence[bytes]) -> None:
        await self.open.wait()
        self.documents.extend(documents)

    async def close(self) -> None:
        pass


class Manager:
    """A running manager, and what it has told."""

    def __init__(self, embedded: Embedded, sink: Collected) -> None:
        self.embedded, self.sink = embedded, sink

    async def command(self, name: str, **fields: Any) -> Any:
        return json.loads(await self.embedded.dispatch.invoke(name, json.dumps(fields).encode()))

    async def connect(self, url: str, id_: str = "a", *, auto: bool = True, **options: Any) -> None:
        body = {"id": id_, "url": url, "topic": "t", "autoReconnect": auto, "options": {**QUICK, **options}}
        outcome = await self.command("connect", **body)
        assert outcome["status"] == "accepted", outcome

    def events(self, kind: str) -> list[dict[str, Any]]:
        documents = [json.loads(document) for document in self.sink.documents]
        return [document["data"] for document in documents if document["type"].endswith(f".{kind}")]

    def statuses(self, status: str) -> list[dict[str, Any]]:
        return [event for event in self.events("status") if event["status"] == status]

    async def until(self, status: str, count: int = 1) -> dict[str, Any]:
        """The `count`-th event of this status."""
        await until(lambda: len(self.statuses(status)) >= count, f"{count} times {status}")
        return self.statuses(status)[count - 1]

    async def until_recorded(self, reason: str) -> dict[str, Any]:
        """The view of the record, when its last error says this."""
        view: dict[str, Any] = {}
        async with asyncio.timeout(20):
            while reason not in (view.get("lastError") or ""):
                await asyncio.sleep(0.01)
                view = await self.command("connection", id="a")
        return view

    @property
    def everything(self) -> str:
        return b"\n".join(self.sink.documents).decode()


@asynccontextmanager
async def manager(folder: Path, **settings: Any) -> AsyncIterator[Manager]:
    sink = Collected()
    chosen = Settings(**{"data": folder, "port": 0, "allow_private": True, "heartbeat_interval_s": 1, **settings})
    async with start_embedded(chosen, Quiet(), sink) as embedded:
        try:
            yield Manager(embedded, sink)
        finally:
            sink.open.set()
