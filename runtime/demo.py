"""`wsm demo`: a connection's whole life against a local feed, in about 15 seconds, with nothing simulated."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import uvloop
from rich.console import Console

from runtime.embedded import Embedded, start_embedded
from runtime.feed import Feed, local_feed
from runtime.models.events import Event
from runtime.settings import Settings

ID = "demo"
PATIENCE_S = 10.0
_COLOURS = {"frame": "cyan", "status": "green", "gap": "yellow", "outcome": "magenta"}


class DemoFailed(Exception):
    """What was promised did not happen in time."""


class Quiet:
    """An Observer that says nothing."""

    def log(self, event: str, **fields: object) -> None:
        """Nothing."""

    def warn(self, event: str, **fields: object) -> None:
        """Nothing."""


@dataclass(slots=True)
class Screen:
    """The sink of the demonstration: prints what a subscriber would get, and lets the story wait for it."""

    console: Console
    lanes: int = 1
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, events: Sequence[Event], documents: Sequence[bytes]) -> None:
        for event in events:
            kind, data = event.type.rpartition(".")[2], orjson.loads(event.data)
            self.seen.append((kind, data))
            self.console.print(
                f"  [{_COLOURS.get(kind, 'white')}]{kind:8}[/] [dim]{event.topic}[/] {_line(kind, data)}"
            )
        self._news.set()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def until(self, kind: str, /, **wanted: Any) -> dict[str, Any]:
        """Wait for an event that was not waited for before. Raises DemoFailed."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                while True:
                    for index, (seen, data) in enumerate(self.seen):
                        if seen == kind and all(data.get(key) == value for key, value in wanted.items()):
                            del self.seen[: index + 1]
                            return data
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise DemoFailed(f"no {kind} event with {wanted} within {PATIENCE_S:g} s") from None


def _line(kind: str, data: dict[str, Any]) -> str:
    match kind:
        case "frame":
            return f"epoch …{data['epoch'] % 1000:03} sequence {data['sequence']:3}  {data['payload']}"
        case "status":
            return f"[bold]{data['status']}[/]" + (f" ({data['reason']})" if data["reason"] else "")
        case "gap":
            return f"{data['kind']}: nobody was reading from {data['fromTime'][11:23]} to {data['toTime'][11:23]}"
        case "outcome":
            return f"{data['command']}: {data['status']} ({data['reason']})" + (
                f" → {data['answer']}" if data["answer"] else ""
            )
        case _:
            return ""


def run_demo() -> int:
    """Play the story; 0 when all of it happened, 1 otherwise."""
    console = Console(highlight=False)
    try:
        uvloop.run(_play(console))
    except DemoFailed as error:
        console.print(f"[red]The demonstration failed: {error}[/]")
        return 1
    return 0


async def _play(console: Console) -> None:
    screen = Screen(console)
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder), port=0, allow_private=True)
        async with local_feed(0.5) as feed, start_embedded(settings, Quiet(), screen) as manager:
            await _story(console, screen, feed, manager)
    console.print(
        "\n[bold]Done.[/] Run it for yourself: [bold]make run[/], and in another terminal [bold]wsm --help[/]"
    )


async def _story(console: Console, screen: Screen, feed: Feed, manager: Embedded) -> None:
    def say(text: str) -> None:
        console.print(f"\n[bold]{text}[/]")

    async def command(name: str, **fields: object) -> None:
        await manager.dispatch.invoke(name, orjson.dumps({"id": ID, **fields}))

    say("1. A connect command becomes a record, the host dials, frames flow to the topic 'prices'.")
    options = {"reconnectBaseDelayS": 3, "stableAfterS": 1}
    await command("connect", url=feed.url, topic="prices", autoReconnect=True, options=options)
    await screen.until("status", status="Connected")
    for _ in range(4):
        await screen.until("frame")
    say("2. The feed is cut. The manager backs off, dials again, and says how long it was blind.")
    feed.cut()
    await screen.until("status", status="Reconnecting")
    await screen.until("gap", kind="blind")
    for _ in range(4):
        await screen.until("frame")
    say("3. A message is sent through the durable outbox; a request waits for its answer.")
    await command("send", message="hello")
    await screen.until("outcome", command="send", status="done")
    await command("request", message='{"id": 7, "question": "life"}', match={"pointer": "/id"})
    await screen.until("outcome", command="request", status="done")
    await screen.until("frame")
    say("4. Disconnected: closed with 1000, and the record is removed.")
    await command("disconnect")
    await screen.until("status", status="Disconnected")
    if await manager.dispatch.invoke("connections", b"{}") != b"[]":
        raise DemoFailed("the record is still there")
