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
from rich.table import Column, Table
from rich.text import Text

from runtime.adapters.event_lines import COLOURS, KIND_WIDTH, kind_of, text_of
from runtime.embedded import Embedded, start_embedded
from runtime.errors import ManagerError
from runtime.feed import Feed, local_feed
from runtime.models.events import Event
from runtime.settings import Settings

ID = "demo"
PATIENCE_S = 10.0


class DemoFailed(Exception):
    """What was promised did not happen in time."""


class Quiet:
    """An Observer that says nothing: the screen belongs to the story."""

    def log(self, event: str, **fields: object) -> None:
        """Nothing."""

    def warn(self, event: str, **fields: object) -> None:
        """Nothing."""


@dataclass(slots=True)
class Screen:
    """The sink of the demonstration: prints what a subscriber would get, and lets the story wait for it."""

    console: Console
    patience_s: float = PATIENCE_S
    lanes: int = 1
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, events: Sequence[Event], documents: Sequence[bytes]) -> None:
        for event in events:
            kind, data = kind_of(event.type), orjson.loads(event.data)
            self.seen.append((kind, data))
            line = Table.grid("", "", Column(overflow="fold"), padding=(0, 1))  # what is long goes on under its begin
            line.add_row(" ", Text(f"{kind:{KIND_WIDTH}}", style=COLOURS.get(kind, "white")), Text(text_of(kind, data)))
            self.console.print(line)
        self._news.set()

    async def close(self) -> None:
        """Nothing to let go of."""

    async def until(self, what: str, kind: str, /, **expected: object) -> None:
        """Wait for an event that has not been waited for. Raises DemoFailed that says `what` did not happen."""
        try:
            async with asyncio.timeout(self.patience_s):
                while not self._take(kind, expected):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise DemoFailed(f"{what} did not come within {self.patience_s:g} s") from None

    def _take(self, kind: str, expected: dict[str, object]) -> bool:
        """Forget everything up to the first event that fits."""
        for index, (seen_kind, data) in enumerate(self.seen):
            if seen_kind == kind and expected.items() <= data.items():
                del self.seen[: index + 1]
                return True
        return False


def run_demo(console: Console | None = None, *, pace_s: float = 1.0, patience_s: float = PATIENCE_S) -> int:
    """Play the story, a number every `pace_s`; 0 when all of it happened, 1 otherwise."""
    console = console or Console(highlight=False)
    try:
        uvloop.run(_play(Screen(console, patience_s), pace_s))
    except (DemoFailed, ManagerError) as error:
        console.print(Text(f"The demonstration failed: {error}.", style="red"))
        return 1
    return 0


async def _play(screen: Screen, pace_s: float) -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder), port=0, allow_private=True, instance_id=ID)
        async with local_feed(pace_s) as feed, start_embedded(settings, Quiet(), screen) as manager:
            await _story(screen, feed, manager, pace_s)
    screen.console.print("\n[bold]Done.[/] Run it for yourself: [bold]make run[/], and in another terminal")
    screen.console.print("[bold].venv/bin/wsm --help[/]")


async def _story(screen: Screen, feed: Feed, manager: Embedded, pace_s: float) -> None:
    def say(*lines: str) -> None:
        screen.console.print("\n[bold]" + "\n   ".join(lines) + "[/]")

    async def command(name: str, **fields: object) -> None:
        await manager.dispatch.invoke(name, orjson.dumps({"id": ID, **fields}))

    say(
        "1. A connect command becomes a record; the host dials; frames flow to",
        "the topic 'prices', all else to 'websocket-events'.",
    )
    options = {"reconnectBaseDelayS": pace_s, "reconnectMaxDelayS": pace_s, "reconnectAttempts": 0}
    await command("connect", url=feed.url, topic="prices", autoReconnect=True, options=options)
    await screen.until("Connected", "status", status="Connected")
    for _ in range(5):
        await screen.until("a frame", "frame")
    say(
        "2. The feed is cut and away for a while. The manager backs off, dials",
        "again, and tells how long it was blind.",
    )
    feed.cut(away_s=2.5 * pace_s)
    await screen.until("Reconnecting", "status", status="Reconnecting")
    await screen.until("the gap event", "gap", kind="blind")
    for _ in range(5):
        await screen.until("a frame after the cut", "frame")
    say("3. A message goes through the durable outbox; a request waits for its", "answer.")
    await command("send", message="hello")
    await screen.until("the end of the send", "outcome", command="send", status="done")
    await command("request", message='{"id": 7, "question": "life"}', match={"pointer": "/id"})
    await screen.until("the answer", "outcome", command="request", status="done")
    await screen.until("a frame after the answer", "frame")
    say("4. Disconnected: closed with 1000, and the record is removed.")
    await command("disconnect")
    await screen.until("Disconnected", "status", status="Disconnected")
    if await manager.dispatch.invoke("connections", b"{}") != b"[]":
        raise DemoFailed("the record is still there")
