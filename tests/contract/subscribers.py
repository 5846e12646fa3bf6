"""A subscriber on a broker as our component set has it, with times that a test can wait for."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

import orjson
import pytest
import yaml

from runtime.adapters.dapr.callbacks import AppServer, Subscription, Triggers
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.deliveries import Delivery
from runtime.adapters.dapr.publisher import DaprBroker
from runtime.models.events import Event
from tests.brokers import Broker
from tests.contract.publishers import event, until_asked, until_subscribed
from tests.embedded import Observed
from tests.message_brokers import make_streams
from tests.peers import until
from tests.sidecar import COMPONENTS, Sidecar, running_sidecar

SETS = {
    "redis": ("local", "redis"),
    "snssqs": ("aws", "moto"),
    "in-memory": ("memory", None),
    "rabbitmq": ("rabbitmq", "rabbitmq"),
    "jetstream": ("jetstream", "nats"),
    "kafka": ("kafka", "kafka"),
}
"""The component set of each, and the fixture of what is behind it."""
SHORT = {"processingTimeout": "3000", "redeliverInterval": "1000", "ackWait": "3s", "messageVisibilityTimeout": "3"}
"""Of the times after which a broker gives out again what nobody has acknowledged: 120 s in the sets."""
TRIES = 3
RETRIES = {"policy": "constant", "duration": "100ms", "maxRetries": TRIES - 1}
PATIENCE_S = 40  # Kafka gives the partitions of a killed subscriber to nobody for 10 s
Take = Callable[[Event], Awaitable[None]]


@dataclass
class Subscriber:
    """Its sidecar, a publisher, and all that was handed over, on `topic` or as a dead letter."""

    kind: str
    topic: str
    sidecar: Sidecar
    publisher: DaprBroker
    tried: list[Event] = field(default_factory=list)
    taken: list[Event] = field(default_factory=list)
    dead: list[Event] = field(default_factory=list)

    async def publish(self, *names: str) -> list[Event]:
        """Publish events of one connection, one after the other."""
        events = [event(orjson.dumps(name), topic=self.topic) for name in names]
        for each in events:
            await self.publisher.publish_many([each])
        return events

    async def until_taken(self, *names: str) -> None:
        await until(lambda: set(names) <= set(named(self.taken)), f"{names} are taken", patience_s=PATIENCE_S)


def named(events: list[Event]) -> list[str]:
    """What they hold."""
    return [orjson.loads(each.data) for each in events]


@asynccontextmanager
async def subscribed(
    kind: str, request: pytest.FixtureRequest, folder: Path, take: Take, *, has_dead_letters: bool = True
) -> AsyncIterator[Subscriber]:
    """A subscriber for a block. `take` gets each delivery; what it raises refuses it."""
    set_, fixture = SETS[kind]
    broker: Broker | None = request.getfixturevalue(fixture) if fixture else None
    topic, dead_topic = (f"{word}{uuid4().hex}" for word in ("t", "d"))
    if broker is not None and kind == "jetstream":
        make_streams(broker, [topic, dead_topic])
    _write(folder / "resources", set_)
    ready: list[Event] = []
    found: list[Subscriber] = []

    async def receive(delivery: Delivery) -> None:
        given = delivery.event
        if given.data == b"1":  # of `until_subscribed`
            ready.append(given)
            return
        found[0].tried.append(given)
        await take(given)
        found[0].taken.append(given)

    async def bury(delivery: Delivery) -> None:
        (ready if delivery.event.data == b"1" else found[0].dead).append(delivery.event)

    topics = {topic: Subscription(receive, dead_topic if has_dead_letters else None), dead_topic: Subscription(bury)}
    app = AppServer(Triggers(topics), Observed(), pubsub="pubsub", port=0, token=None)
    await app.start()
    env = broker.env if broker is not None else {}
    sidecar = Sidecar(f"subscriber-{uuid4().hex}", folder / "resources", folder, app_port=app.port, env=env)
    async with running_sidecar(sidecar):
        await until_asked(sidecar, kind, len(topics))
        channel = Channel(f"127.0.0.1:{sidecar.grpc_port}", None)
        publisher = DaprBroker(channel, "pubsub", f"pubsub.{kind}", "here", Observed())
        await until_subscribed(publisher, topics, ready)
        found.append(Subscriber(kind, topic, sidecar, publisher))
        yield found[0]
        await asyncio.to_thread(sidecar.kill)
        await channel.close()
        await app.stop()


def _write(folder: Path, set_: str) -> None:
    """The set's broker with its redelivery shortened, and a short policy of retries for it."""
    folder.mkdir()
    shutil.copy(COMPONENTS / set_ / "pubsub.yaml", folder)
    component = yaml.safe_load((folder / "pubsub.yaml").read_bytes())
    for item in component["spec"]["metadata"]:
        if item["name"] in SHORT:
            item["value"] = SHORT[item["name"]]
    (folder / "pubsub.yaml").write_bytes(orjson.dumps(component))
    targets = {"components": {"pubsub": {"inbound": {"retry": "short"}}}}
    spec = {"policies": {"retries": {"short": RETRIES}}, "targets": targets}
    document = {"apiVersion": "dapr.io/v1alpha1", "kind": "Resiliency", "metadata": {"name": "test"}, "spec": spec}
    (folder / "resiliency.yaml").write_bytes(orjson.dumps(document))
