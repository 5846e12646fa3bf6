"""`wsm tail` with the dapr profile: a subscriber of its own, with a sidecar of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from runtime.cli.calls import CallFailed
from runtime.cli.own_sidecar import ended_by_signals, own_sidecar
from runtime.models.wire import WireTime

if TYPE_CHECKING:
    from runtime.cli.client import Client

KEPT = 10_000  # events that wait to be shown; while there are more the broker keeps the rest
SPARE = timedelta(seconds=2)


async def events_from_here(client: Client, topics: list[str], resources: Path | None) -> AsyncGenerator[dict[str, Any]]:
    """CloudEvents as they come: of the endpoint where it has them, else by a sidecar of our own. Raises CallFailed."""
    is_sidecar = await _is_sidecar(client)
    events = _from_sidecar(client, topics, resources) if is_sidecar else client.tail(topics)
    async with aclosing(events) as those:
        async for event in those:
            yield event


def is_news(time: str, since: datetime) -> bool:
    """Whether an event is not older than this; one that does not tell its time is."""
    try:
        return WireTime.parse(time) >= since
    except ValueError:
        return True


async def _is_sidecar(client: Client) -> bool:
    try:
        status, text = await client.ask("GET", "/v1.0/metadata")
        return status == 200 and orjson.loads(text)["runtimeVersion"] != "embedded"
    except (CallFailed, orjson.JSONDecodeError, KeyError, TypeError):  # the tail itself will say what is there
        return False


async def _from_sidecar(client: Client, topics: list[str], resources: Path | None) -> AsyncGenerator[dict[str, Any]]:
    """A new subscriber gets from some brokers all that they have kept: what is older than this call is left out."""
    from runtime.adapters.dapr.callbacks import AppServer, Subscription, Triggers
    from runtime.adapters.dapr.deliveries import Delivery
    from runtime.adapters.log import Log
    from runtime.cli.sidecar_examination import names_of
    from runtime.models.events import SOURCE, CloudEventEncoder

    names = names_of(await client.read_one("about"))
    wanted = set(topics or [names.events_topic])
    since = datetime.now(UTC) - SPARE  # noqa: TID251 - a command has no Clock
    waiting: asyncio.Queue[Delivery] = asyncio.Queue(KEPT)

    async def take(delivery: Delivery) -> None:
        await waiting.put(delivery)

    triggers = Triggers({topic: Subscription(take) for topic in wanted})
    app = AppServer(triggers, Log("console"), pubsub=names.pubsub, port=0, token=None)
    encode = CloudEventEncoder(SOURCE, names.pubsub).encode
    await app.start()
    try:
        async with ended_by_signals(), own_sidecar("tail", resources, app.port, wanted):
            while True:
                event = (await waiting.get()).event
                if is_news(event.time, since):
                    yield orjson.loads(encode(event))
    finally:
        await app.stop()
