"""Publishers under the contract suite, each with a real subscriber at its other end."""

from __future__ import annotations

import asyncio
import json
import os
from base64 import b64decode
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web

from runtime.adapters.dapr.callbacks import AppServer, Subscription, Triggers
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.deliveries import Delivery
from runtime.adapters.dapr.publisher import DaprBroker
from runtime.adapters.embedded.bus import Bus
from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.adapters.embedded.http_sink import HttpSink
from runtime.adapters.embedded.sink import Sink
from runtime.adapters.embedded.stdout_sink import StdoutSink
from runtime.adapters.embedded.tail import Tail
from runtime.adapters.memory.publisher import MemoryPublisher
from runtime.errors import PublishError
from runtime.models.events import CloudEventEncoder, Event, is_json
from runtime.ports import Names, Publisher
from tests.brokers import Broker
from tests.cloud_events import STRUCTURED, read_cloud_event
from tests.contract.sidecars import write_broker
from tests.embedded import Observed
from tests.message_brokers import make_streams
from tests.peers import until
from tests.processes import free_ports
from tests.sidecar import Sidecar, running_sidecar

SOURCE = "websocket-manager"
NOW = "2026-01-31T12:00:00.123456Z"
LIMIT_BYTES = 4 * 1024 * 1024
SNS_LIMIT_BYTES = 300_000
"""Above what SNS takes."""
MIDDLE_BYTES = 2_000_000
"""Above what Kafka and NATS take too, each in its own default."""
LIMITED_TO = {
    "memory": 1 << 40,
    "stdout": 1 << 40,
    "snssqs": SNS_LIMIT_BYTES,
    "jetstream": MIDDLE_BYTES,
    "kafka": MIDDLE_BYTES,
}
BROKERS = {"redis": "redis", "snssqs": "moto", "rabbitmq": "rabbitmq", "jetstream": "nats", "kafka": "kafka"}
"""The fixture of each."""


@dataclass
class Line:
    """A publisher, what its subscriber has got, and a publisher of the same kind whose other end is not there."""

    kind: str
    publisher: Publisher
    broken: Publisher
    arrived: list[Event]

    def refuses(self, size: int) -> bool:
        """Some take any size, and some brokers less than a sidecar does."""
        return size >= LIMITED_TO.get(self.kind, LIMIT_BYTES)

    @property
    def is_ordered(self) -> bool:
        """A standard queue of SQS promises no order."""
        return self.kind != "snssqs"

    async def until_arrived(self, events: list[Event]) -> list[Event]:
        """What has arrived of these, each once, in the order of first arrival."""
        wanted = {event.id for event in events}

        def found() -> list[Event]:
            first = {event.id: event for event in reversed(self.arrived) if event.id in wanted}
            return sorted(first.values(), key=self.arrived.index)

        await until(lambda: len(found()) == len(wanted), "all events arrive", patience_s=60)
        return found()


def event(data: bytes = b"1", content_type: str = "application/json", **more: Any) -> Event:
    attributes: dict[str, Any] = {"topic": "t", "type": "io.test", "subject": "a", "time": NOW, **more}
    return Event(id=uuid4().hex, data=data, content_type=content_type, **attributes)


@asynccontextmanager
async def memory() -> AsyncIterator[Line]:
    async def fail(events: Sequence[Event]) -> None:
        if events:
            raise PublishError("away")

    publisher = MemoryPublisher()
    yield Line("memory", publisher, MemoryPublisher(before=fail), publisher.events)


def bus(sink: Sink, folder: Path) -> Bus:
    letters = DeadLetterFile(folder / "dead-letters.jsonl")
    return Bus(sink, Tail(lambda lost: b""), CloudEventEncoder(SOURCE, "pubsub"), Names(), letters)


@asynccontextmanager
async def stdout(folder: Path) -> AsyncIterator[Line]:
    reading, writing = os.pipe()
    full = os.open("/dev/full", os.O_WRONLY)
    arrived: list[Event] = []
    reader = asyncio.StreamReader(limit=2 * LIMIT_BYTES)
    with os.fdopen(reading, "rb") as pipe:
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )

        async def read() -> None:
            while line := await reader.readline():
                arrived.append(parsed(line))

        task = asyncio.create_task(read())
        sink, broken = StdoutSink(writing), StdoutSink(full)
        yield Line("stdout", bus(sink, folder), bus(broken, folder), arrived)
        await sink.close()
        await broken.close()
        os.close(writing)
        os.close(full)
        await task
        transport.close()


@asynccontextmanager
async def http(folder: Path) -> AsyncIterator[Line]:
    arrived: list[Event] = []

    async def take(request: web.Request) -> web.Response:
        arrived.append(parsed(await request.read()))
        return web.Response(status=204)

    app = web.Application(client_max_size=LIMIT_BYTES)  # 413 beyond it
    app.router.add_post("/", take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (nobody,) = free_ports(1)
    port = runner.addresses[0][1]
    sinks = [HttpSink(f"http://127.0.0.1:{number}/", "structured", SOURCE, "pubsub") for number in (port, nobody)]
    yield Line("http", bus(sinks[0], folder), bus(sinks[1], folder), arrived)
    for sink in sinks:
        await sink.close()
    await runner.cleanup()


@asynccontextmanager
async def dapr(kind: str, request: pytest.FixtureRequest, folder: Path) -> AsyncIterator[Line]:
    arrived: list[Event] = []

    async def take(delivery: Delivery) -> None:
        arrived.append(delivery.event)

    broker: Broker = request.getfixturevalue(BROKERS[kind])
    (folder / "resources").mkdir()
    write_broker(folder / "resources", kind, broker)
    observed = Observed()
    topics = {topic: Subscription(take) for topic in ("t", "u")}
    if kind == "jetstream":
        make_streams(broker, topics)
    app = AppServer(Triggers(topics), observed, pubsub="pubsub", port=0, token=None)
    await app.start()
    env = broker.env if kind != "snssqs" else None
    sidecar = Sidecar("publisher", folder / "resources", folder, app_port=app.port, env=env)
    async with running_sidecar(sidecar):
        await until_asked(sidecar, kind, len(topics))
        (nobody,) = free_ports(1)
        channels = [Channel(f"127.0.0.1:{port}", None) for port in (sidecar.grpc_port, nobody)]
        type_ = sidecar.components()["pubsub"]
        publishers = [DaprBroker(channel, "pubsub", type_, SOURCE, observed) for channel in channels]
        await until_subscribed(publishers[0], topics, arrived)
        yield Line(kind, publishers[0], publishers[1], arrived)
        for channel in channels:
            await channel.close()
        await app.stop()


async def until_asked(sidecar: Sidecar, kind: str, count: int) -> None:
    """Wait until the sidecar has asked for the topics; with RabbitMQ, until it surely has subscribed to them too.

    There the first publish to a topic, at the same moment, may spoil a subscription: see docs/guarantees.md.
    """
    await until(lambda: len(sidecar.metadata().get("subscriptions", [])) == count, "subscribed", patience_s=60)
    if kind == "rabbitmq":
        await asyncio.sleep(1)


async def until_subscribed(publisher: Publisher, topics: Iterable[str], arrived: list[Event]) -> None:
    """A subscription is made some time after the sidecar says that there is one: publish until it brings something."""
    async with asyncio.timeout(60):
        while {each.topic for each in arrived} != set(topics):
            await publisher.publish_many([event(topic=topic) for topic in topics])
            await asyncio.sleep(0.2)


def parsed(document: bytes) -> Event:
    """The event of a CloudEvents document, which the CloudEvents SDK can read too."""
    assert read_cloud_event(STRUCTURED, document)["specversion"] == "1.0"
    told = json.loads(document)
    content_type = told["datacontenttype"]
    if "data_base64" in told:
        data = b64decode(told["data_base64"])
    else:
        data = json.dumps(told["data"]).encode() if is_json(content_type) else told["data"].encode()
    return Event(
        told["id"],
        told["topic"],
        told["type"],
        told.get("subject", ""),
        told["time"],
        data,
        content_type,
        told["source"],
    )
