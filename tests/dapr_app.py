"""An app under test: what it has got, and its server started for a block."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from runtime.adapters.dapr.callbacks import AppServer, Triggers
from runtime.adapters.dapr.deliveries import Delivery
from tests.embedded import Observed


@dataclass
class Got:
    """What arrived, by topic or binding."""

    deliveries: list[Delivery] = field(default_factory=list)
    bound: list[tuple[bytes, Mapping[str, str]]] = field(default_factory=list)
    invoked: list[tuple[str, bytes]] = field(default_factory=list)

    async def take(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    async def take_bound(self, data: bytes, metadata: Mapping[str, str]) -> None:
        self.bound.append((data, metadata))

    def on(self, topic: str) -> list[Delivery]:
        return [delivery for delivery in self.deliveries if delivery.event.topic == topic]


def server(triggers: Triggers, observed: Observed, token: str | None = None) -> AppServer:
    return AppServer(triggers, observed, pubsub="pubsub", port=0, token=token)


@asynccontextmanager
async def started(app: AppServer) -> AsyncIterator[AppServer]:
    await app.start()
    try:
        yield app
    finally:
        await app.stop()
