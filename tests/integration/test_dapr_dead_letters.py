"""Dead letters by way of a real broker: what the dead-letter topic brings is kept where every process finds it."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from runtime.adapters.clock import SystemClock
from runtime.adapters.dapr.callbacks import AppServer, Subscription, Triggers
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.dead_letters import KeptDeadLetters
from runtime.adapters.dapr.deliveries import Delivery
from runtime.adapters.dapr.publisher import DaprBroker
from runtime.adapters.dapr.store import DaprStore
from runtime.errors import StoreError
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import Event
from runtime.models.wire import WireTime
from runtime.records import Records
from tests.brokers import Broker
from tests.contract.sidecars import write_broker, write_component
from tests.embedded import Observed
from tests.peers import until
from tests.sidecar import Sidecar, running_sidecar

pytestmark = pytest.mark.integration

NOW = "2026-01-31T12:00:00.000000Z"


async def test_our_letters_and_what_the_sidecar_gives_up_are_both_kept(redis: Broker, tmp_path: Path):
    resources, observed = tmp_path / "resources", Observed()
    resources.mkdir()
    write_broker(resources, "redis", redis)
    write_component(resources, "statestore", "state.in-memory")
    commands, dead = f"commands-{tmp_path.name}", f"dead-{tmp_path.name}"
    kept: list[KeptDeadLetters] = []

    async def keep(delivery: Delivery) -> None:
        await kept[0].receive(delivery)

    async def fail(_delivery: Delivery) -> None:
        raise StoreError("away")

    topics = {commands: Subscription(fail, dead), dead: Subscription(keep)}
    app = AppServer(Triggers(topics), observed, pubsub="pubsub", port=0, token=None)
    await app.start()
    async with running_sidecar(Sidecar(f"dead{app.port}", resources, tmp_path, app_port=app.port)) as sidecar:
        channel = Channel(f"127.0.0.1:{sidecar.grpc_port}", None)
        clock, store = SystemClock(), DaprStore(channel, "statestore")
        letters = KeptDeadLetters(store, Records(store, clock, random.random), clock, observed)
        kept.append(letters)
        broker = DaprBroker(channel, "pubsub", "pubsub.redis", "websocket-manager", observed)

        refused = Event("1", "orders", "io.test", "a", NOW, b"\xff\x00", "image/png", "/shop")
        ours = DeadLetter.of(refused, "too large", WireTime.parse(NOW))
        given_up = Event("2", commands, "io.test", "a", NOW, b'{"command":"connect"}', source="/shop")
        await broker.publish_many([ours.carried_to(dead)])
        await broker.publish_many([given_up])
        await until(lambda: len([1 for name, _ in observed.warnings if name == "delivery_failed"]) == 1, "it failed")
        found: list[DeadLetter] = []
        for _ in range(200):
            found = sorted(await letters.read(), key=lambda letter: letter.id)
            if len(found) == 2:
                break
            await clock.sleep(0.05)
        await channel.close()
        await app.stop()
    assert found[0] == ours
    assert (found[1].event, found[1].reason) == (given_up, "not handled after all retries")
