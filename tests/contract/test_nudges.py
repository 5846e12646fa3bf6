"""One suite for the Nudges port, run on every implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from runtime.adapters.dapr.callbacks import AppServer, Subscription, Triggers
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.deliveries import Delivery
from runtime.adapters.dapr.publisher import DaprBroker
from runtime.adapters.embedded.bus import Bus
from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.adapters.embedded.tail import Tail
from runtime.adapters.memory.publisher import MemoryNudges
from runtime.models.events import CloudEventEncoder
from runtime.ports import Names, Nudges
from tests.brokers import Broker
from tests.contract.publishers import until_asked
from tests.contract.sidecars import write_broker
from tests.embedded import Observed, SinkInHand
from tests.message_brokers import make_streams
from tests.peers import until
from tests.processes import free_ports
from tests.sidecar import Sidecar, running_sidecar

pytestmark = pytest.mark.integration

MESSAGE_BROKERS = {"rabbitmq": "rabbitmq", "jetstream": "nats", "kafka": "kafka"}
TOPIC = Names().owner_topic("host-1")
Line = tuple[Nudges, list[str]]


def memory() -> Line:
    nudges, nudged = MemoryNudges(), list[str]()
    nudges.callbacks[TOPIC] = nudged.append
    return nudges, nudged


def bus(folder: Path) -> Line:
    letters = DeadLetterFile(folder / "dead-letters.jsonl")
    bus = Bus(SinkInHand(), Tail(lambda lost: b""), CloudEventEncoder("here", "pubsub"), Names(), letters)
    nudged = list[str]()
    bus.subscribe_nudges(TOPIC, nudged.append)
    return bus, nudged


@pytest.fixture(params=["memory", "bus", "redis", *MESSAGE_BROKERS])
async def line(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Line]:
    if request.param == "memory":
        yield memory()
        return
    if request.param == "bus":
        yield bus(tmp_path)
        return
    kind = request.param
    broker: Broker = request.getfixturevalue(MESSAGE_BROKERS.get(kind, kind))
    if kind == "jetstream":
        make_streams(broker, [TOPIC])
    nudged = list[str]()

    async def take(delivery: Delivery) -> None:
        nudged.append(delivery.event.data.decode())

    (tmp_path / "resources").mkdir()
    write_broker(tmp_path / "resources", kind, broker)
    app = AppServer(Triggers({TOPIC: Subscription(take)}), Observed(), pubsub="pubsub", port=0, token=None)
    await app.start()
    app_id = f"nudged-{uuid4().hex}"  # Kafka gives the topics of a killed one to the next only when its session is over
    nudged_one = Sidecar(app_id, tmp_path / "resources", tmp_path, app_port=app.port, env=broker.env)
    async with running_sidecar(nudged_one) as sidecar:
        await until_asked(sidecar, kind, 1)
        channel = Channel(f"127.0.0.1:{sidecar.grpc_port}", None)
        yield DaprBroker(channel, "pubsub", f"pubsub.{kind}", "here", Observed()), nudged
        await channel.close()
        await app.stop()


async def test_a_nudge_brings_the_id_of_the_connection(line: Line):
    nudges, nudged = line
    await nudges.nudge(TOPIC, "conn:1")
    await until(lambda: "conn:1" in nudged, "nudged")


async def test_a_nudge_to_nobody_is_lost_in_peace(line: Line):
    nudges, nudged = line
    await nudges.nudge(Names().owner_topic("nobody"), "conn:2")
    await nudges.nudge(TOPIC, "conn:3")
    await until(lambda: "conn:3" in nudged, "nudged")
    assert "conn:2" not in nudged


async def test_a_nudge_without_a_sidecar_is_lost_with_a_line_in_the_log():
    (nobody,) = free_ports(1)
    channel, observed = Channel(f"127.0.0.1:{nobody}", None), Observed()
    await DaprBroker(channel, "pubsub", "pubsub.redis", "here", observed).nudge(TOPIC, "a")
    await channel.close()
    assert [(name, fields["id"], fields["reason"]) for name, fields in observed.logs] == [
        ("nudge_lost", "a", f"the sidecar at 127.0.0.1:{nobody} cannot be reached")
    ]
