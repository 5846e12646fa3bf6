"""A sidecar that lacks calls which the tried versions have, as that of Azure Container Apps does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from runtime.adapters.dapr.bulk_call import ALPHA, SINGLE, STABLE
from runtime.adapters.dapr.callbacks import AppServer, Subscription, Triggers
from runtime.adapters.dapr.channel import DEADLINE_S, A
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.deliveries import Delivery
from runtime.adapters.dapr.publisher import DaprBroker
from runtime.errors import PublishError
from runtime.models.events import Event
from tests.embedded import Observed
from tests.peers import until
from tests.sidecar import COMPONENTS, Sidecar, running_sidecar

pytestmark = pytest.mark.integration

TOPIC = "prices"
COUNT = 5


class Older(Channel):
    """The channel to a sidecar without some of its calls: it answers as the real one answers what it does not know."""

    def __init__(self, address: str, missing: frozenset[str]) -> None:
        super().__init__(address, None)
        self.missing, self.made = missing, list[str]()

    async def call(self, method: str, request: Message, answer: type[A], deadline_s: float = DEADLINE_S) -> A:
        self.made.append(method)
        name = f"{method}OfLaterVersions" if method in self.missing else method
        return await super().call(name, request, answer, deadline_s)


@asynccontextmanager
async def running(folder: Path, *missing: str) -> AsyncIterator[tuple[DaprBroker, Older, list[Delivery], Observed]]:
    """A publisher on such a sidecar, and what a subscriber has got."""
    got: list[Delivery] = []

    async def take(delivery: Delivery) -> None:
        got.append(delivery)

    observed = Observed()
    app = AppServer(Triggers({TOPIC: Subscription(take)}), observed, pubsub="pubsub", port=0, token=None)
    await app.start()
    sidecar = Sidecar("websocket-host", COMPONENTS / "memory", folder, app_port=app.port)
    try:
        async with running_sidecar(sidecar):
            await until(lambda: sidecar.metadata().get("subscriptions"), "it is subscribed", patience_s=60)
            channel = Older(f"127.0.0.1:{sidecar.grpc_port}", frozenset(missing))
            yield DaprBroker(channel, "pubsub", "pubsub.in-memory", "test", observed), channel, got, observed
            await channel.close()
    finally:
        await app.stop()


def event(number: int, **more: Any) -> Event:
    time = "2026-01-31T12:00:00Z"
    given = {"topic": TOPIC, "type": "io.test", "subject": "a", "content_type": "application/json", **more}
    return Event(id=f"e{number}", time=time, data=b"%d" % number, **given)


@pytest.mark.parametrize(
    ("missing", "asked"),
    [
        ([], [STABLE, STABLE]),
        ([STABLE], [STABLE, ALPHA, ALPHA]),
        ([STABLE, ALPHA], [STABLE, ALPHA, *[SINGLE] * (COUNT + 1)]),
    ],
    ids=["1.17", "1.16", "without-alpha"],
)
async def test_events_arrive_by_the_call_that_is_there_and_what_is_missing_is_asked_for_once(
    tmp_path: Path, missing: list[str], asked: list[str]
):
    async with running(tmp_path, *missing) as (broker, channel, got, observed):
        await broker.publish_many([event(number) for number in range(COUNT)])
        await broker.publish_many([event(COUNT)])
        await until(lambda: len(got) == COUNT + 1, "all events arrive")
    assert sorted(each.event.id for each in got) == [f"e{number}" for number in range(COUNT + 1)]
    assert channel.made == asked
    said = [fields["call"] for name, fields in observed.logs if name == "bulk_publish_missing"]
    assert said == missing


async def test_one_by_one_they_keep_their_order(tmp_path: Path):
    async with running(tmp_path, STABLE, ALPHA) as (broker, _, got, _observed):
        await broker.publish_many([event(number) for number in range(COUNT)])
        await until(lambda: len(got) == COUNT, "all events arrive")
    assert [each.event.id for each in got] == [f"e{number}" for number in range(COUNT)]


async def test_any_other_failure_is_a_failure_and_no_reason_to_try_another_call(tmp_path: Path):
    async with running(tmp_path) as (_, channel, _got, observed):
        broker = DaprBroker(channel, "no-such-pubsub", "pubsub.in-memory", "test", observed)
        with pytest.raises(PublishError):
            await broker.publish_many([event(1)])
    assert channel.made == [STABLE]
