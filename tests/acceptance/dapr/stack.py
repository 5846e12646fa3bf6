"""Handlers, host and a third app apart, each with a sidecar of its own, on the component set `local` as it is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from runtime.adapters.dapr.callbacks import AppServer, Subscription, Triggers
from runtime.adapters.dapr.deliveries import Delivery
from tests.acceptance.dapr.streams import Stream
from tests.acceptance.manager import WSM
from tests.brokers import Broker, publish_mqtt, running_mosquitto, running_redis
from tests.embedded import Observed
from tests.processes import Process, free_ports
from tests.sidecar import COMPONENTS, Sidecar

COMMANDS, EVENTS = "websocket-commands", "websocket-events"
HANDLERS, HOST, OUTSIDER = "websocket-handlers", "websocket-host", "dashboard"
PATIENCE_S = 60
REST_BEATS = 6  # a host looks at every second beat, and acts upon what two looks have shown


async def eventually(
    condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S, *, every: float = 0.1
) -> None:
    """Ask again and again, without filling a core."""
    limit = asyncio.timeout(patience_s)
    try:
        async with limit:
            while not condition():
                await asyncio.sleep(every)
    except TimeoutError:
        if not limit.expired():
            raise  # of the condition itself
        raise AssertionError(f"not within {patience_s:g} s: {what}") from None


class App(Process):
    """A `wsm run --profile dapr`. It is ready when it says so, and logs JSON."""

    def __init__(
        self,
        mode: str,
        folder: Path,
        *args: str,
        app_port: int,
        grpc_port: int,
        program: Sequence[str] = WSM,
        **env: str,
    ) -> None:
        command = [*program, "run", "--profile", "dapr", "--mode", mode, "--log-format", "json", "--allow-private"]
        ports = {"APP_PORT": str(app_port), "DAPR_GRPC_PORT": str(grpc_port), "WSM_OPS_PORT": "0"}
        super().__init__(mode, [*command, *args], folder, lambda: bool(self.logged("started")), env={**ports, **env})
        self.app_port, self._begin = app_port, 0

    def spawn(self) -> None:
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        super().spawn()

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What it has logged under a name since it was started last."""
        lines = self.log.read_bytes()[self._begin :].splitlines() if self.log.exists() else []
        found = [json.loads(line) for line in lines if line.startswith(b"{") and line.endswith(b"}")]
        return [line for line in found if line["event"] == event]


@dataclass
class Pair:
    """An app with its sidecar."""

    app: App
    sidecar: Sidecar

    def spawn(self) -> None:
        """Start what does not run."""
        for process in (self.sidecar, self.app):
            if not process.is_alive:
                process.spawn()

    async def until_up(self) -> None:
        """Wait until both are ready, and the sidecar has asked for the topics."""
        for process in (self.sidecar, self.app):
            await asyncio.to_thread(process.wait_ready)
        await eventually(lambda: self.sidecar.is_healthy and self.is_subscribed, f"{self.app.name} is subscribed")

    @property
    def is_subscribed(self) -> bool:
        """Whether the sidecar knows the topics of its app."""
        return bool(self.sidecar.metadata().get("subscriptions"))

    def kill(self) -> None:
        self.app.kill()
        self.sidecar.kill()


def make_pair(
    mode: str,
    app_id: str,
    folder: Path,
    resources: Path,
    env: Mapping[str, str],
    *args: str,
    names: Path | None = None,
    program: Sequence[str] = WSM,
) -> Pair:
    """An app of a mode and its sidecar, started as `make up` does. `names`: see `Sidecar`."""
    (app_port,) = free_ports(1)
    health = ("--enable-app-health-check",)
    sidecar = Sidecar(app_id, resources, folder, app_port=app_port, env=env, args=health, names=names or folder)
    tokens = {key: value for key, value in env.items() if key.endswith("API_TOKEN")}
    app = App(mode, folder, *args, app_port=app_port, grpc_port=sidecar.grpc_port, program=program, **tokens)
    return Pair(app, sidecar)


@dataclass
class Outsider:
    """A third app: it publishes, invokes, and subscribes to what the manager tells."""

    sidecar: Sidecar
    session: aiohttp.ClientSession
    got: list[Delivery] = field(default_factory=list)

    async def publish(self, body: bytes, content_type: str = "application/json", topic: str = COMMANDS) -> int:
        """Publish; the status of the answer."""
        url, headers = f"{self.sidecar.url}/publish/pubsub/{topic}", {"Content-Type": content_type}
        async with self.session.post(url, data=BytesIO(body), headers=headers) as answer:
            return answer.status

    async def command(self, **command: Any) -> None:
        """A command to the topic."""
        assert await self.publish(orjson.dumps(command)) == 204

    async def invoke(self, method: str, **body: Any) -> Any:
        """A method of the handlers; the JSON that it answers."""
        url, data = f"{self.sidecar.url}/invoke/{HANDLERS}/method/{method}", BytesIO(orjson.dumps(body))
        async with self.session.post(url, data=data, headers={"Content-Type": "application/json"}) as answer:
            text = await answer.read()
            assert answer.status == 200, text
            return orjson.loads(text)

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The data of what reached it of a kind; a repeat counts once."""
        events = {each.event.id: each.event for each in self.got if each.event.type.endswith(f".{kind}")}
        return [orjson.loads(event.data) for event in events.values()]

    def ends_of(self, command_id: str) -> list[str]:
        """The outcomes of a command, in the order in which they arrived."""
        return [outcome["status"] for outcome in self.told("outcome") if outcome["commandId"] == command_id]


@dataclass
class Stack:
    """All that runs. `hosts`: by their ids."""

    folder: Path
    redis: Broker
    mosquitto: Broker
    handlers: Pair
    hosts: dict[str, Pair]
    outsider: Outsider

    @property
    def host(self) -> Pair:
        """The first one; most tests have no other."""
        return next(iter(self.hosts.values()))

    async def heal(self) -> None:
        """Start again whatever an earlier test has left dead or paused."""
        for process in (self.redis.process, self.mosquitto.process):
            if not process.is_alive:
                process.start()
        for pair in (self.handlers, *self.hosts.values()):
            pair.spawn()
        await self.until_up()

    async def until_up(self) -> None:
        for pair in (self.handlers, *self.hosts.values()):
            await pair.until_up()

    def stream(self, topic: str = EVENTS) -> Stream:
        """What the broker holds of a topic."""
        return Stream(self.redis.port, topic)

    async def connect(self, *bodies: dict[str, Any]) -> None:
        """Connect by invocation, and wait until all are Connected."""
        for body in bodies:
            outcome = await self.outsider.invoke("connect", **{"autoReconnect": True, **body})
            assert outcome["status"] == "accepted", outcome
        ids = {body["id"] for body in bodies}
        await self.until_status("Connected", *ids)

    async def until_status(self, status: str, *ids: str) -> None:
        """Wait until the records of connections say so."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                known = {each["id"]: each["status"] for each in await self.outsider.invoke("connections")}
                if all(known.get(id_) == status for id_ in ids):
                    return
                await asyncio.sleep(0.2)

    def mqtt(self, **command: Any) -> None:
        """A command by way of the input binding."""
        publish_mqtt(self.mosquitto.port, COMMANDS, orjson.dumps(command))


@asynccontextmanager
async def running_stack(
    folder: Path, *args: str, hosts: Sequence[str] = ("host-1",), program: Sequence[str] = WSM
) -> AsyncIterator[Stack]:
    """The stack for a block; nothing is left of it. `args`: for handlers and hosts; `program`: what a host runs."""
    secrets = folder / "secrets.json"
    secrets.write_text("{}")
    resources = COMPONENTS / "local"
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(running_redis(folder, keeps=True))
        mosquitto = stack.enter_context(running_mosquitto(folder))
        env = {**redis.env, **mosquitto.env, "SECRETS_FILE": str(secrets)}
        handlers = make_pair("handlers", HANDLERS, folder, resources, env, *args)
        pairs = {id_: make_host(id_, folder, resources, env, *args, program=program) for id_ in hosts}
        for pair in (handlers, *pairs.values()):
            stack.callback(pair.kill)
            pair.spawn()
        outsider = await stack.enter_async_context(running_outsider(folder, resources, env))
        running = Stack(folder, redis, mosquitto, handlers, pairs, outsider)
        await running.until_up()
        yield running


def make_host(
    id_: str, folder: Path, resources: Path, env: Mapping[str, str], *args: str, program: Sequence[str] = WSM
) -> Pair:
    """A host with its sidecar, whose logs lie in a folder of its own."""
    (own := folder / id_).mkdir()
    return make_pair("host", HOST, own, resources, env, *args, "--instance-id", id_, names=folder, program=program)


@asynccontextmanager
async def running_outsider(
    folder: Path, resources: Path, env: Mapping[str, str], *topics: str
) -> AsyncIterator[Outsider]:
    """The third app, in this process. It reads what is told, and `topics`."""
    got: list[Delivery] = []

    async def take(delivery: Delivery) -> None:
        got.append(delivery)

    read = {topic: Subscription(take) for topic in (EVENTS, *topics)}
    app = AppServer(Triggers(read), Observed(), pubsub="pubsub", port=0, token=None)
    await app.start()
    sidecar = Sidecar(OUTSIDER, resources, folder, app_port=app.port, env=env, names=folder)
    try:
        sidecar.spawn()
        await asyncio.to_thread(sidecar.wait_ready)
        await eventually(lambda: sidecar.metadata().get("subscriptions"), "the third app is subscribed")
        async with aiohttp.ClientSession(trust_env=False) as session:
            yield Outsider(sidecar, session, got)
    finally:
        await asyncio.to_thread(sidecar.kill)
        await app.stop()
