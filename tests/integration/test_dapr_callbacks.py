"""What a real sidecar brings to the app, what the app makes of it, and what becomes of what it does not take."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runtime.adapters.dapr.callbacks import AppServer, Subscription, Triggers
from runtime.errors import FieldProblem, InvalidInputError, NotFoundError, PermanentError, StoreError, TransientError
from tests.brokers import Broker
from tests.contract.sidecars import write_broker, write_component
from tests.dapr_app import Got, server, started
from tests.embedded import Observed
from tests.loops import on_both_loops
from tests.peers import until
from tests.sidecar import Sidecar, running_sidecar

pytestmark = pytest.mark.integration

RETRIES = """
apiVersion: dapr.io/v1alpha1
kind: Resiliency
metadata: {name: again}
spec:
  policies: {retries: {again: {policy: constant, duration: 50ms, maxRetries: 2}}}
  targets: {components: {pubsub: {inbound: {retry: again}}}}
"""


@asynccontextmanager
async def sidecar_of(app: AppServer, redis: Broker, folder: Path, **how: Any) -> AsyncIterator[Sidecar]:
    """A sidecar that has asked the app for its topics."""
    resources = folder / "resources"
    resources.mkdir()
    write_broker(resources, "redis", redis)
    write_component(resources, "tick", "bindings.cron", schedule="@every 1s", direction="input")
    (resources / "resiliency.yaml").write_text(RETRIES)
    sidecar = Sidecar(f"app{app.port}", resources, folder, app_port=app.port, **how)
    async with running_sidecar(sidecar):
        await until(lambda: sidecar.metadata().get("subscriptions"), "subscribed", patience_s=60)
        yield sidecar


class Caller:
    """The sidecar's HTTP side."""

    def __init__(self, sidecar: Sidecar, session: aiohttp.ClientSession) -> None:
        self.sidecar, self.session = sidecar, session

    async def post(self, path: str, data: bytes, content_type: str = "application/json") -> tuple[int, bytes]:
        headers = {"Content-Type": content_type}
        async with self.session.post(f"{self.sidecar.url}/{path}", data=data, headers=headers) as answer:
            return answer.status, await answer.read()

    async def publish(self, topic: str, data: bytes, content_type: str = "application/json") -> None:
        status, answer = await self.post(f"publish/pubsub/{topic}", data, content_type)
        assert status == 204, answer


@asynccontextmanager
async def caller_of(sidecar: Sidecar) -> AsyncIterator[Caller]:
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield Caller(sidecar, session)


async def raised(error: Exception) -> None:
    raise error


@asynccontextmanager
async def everything(redis: Broker, folder: Path, triggers: Triggers, observed: Observed, token: str | None = None):
    env = {} if token is None else {"APP_API_TOKEN": token}
    async with (
        started(server(triggers, observed, token)) as app,
        sidecar_of(app, redis, folder, env=env) as sidecar,
        caller_of(sidecar) as caller,
    ):
        yield caller


@on_both_loops
async def test_with_a_token_topics_bindings_and_methods_all_work(redis: Broker, tmp_path: Path):
    got, observed = Got(), Observed()

    async def invoke(method: str, body: bytes) -> bytes:
        got.invoked.append((method, body))
        return b'{"ok":true}'

    topic = f"a{tmp_path.name}"  # of its own: a new consumer would also get what an earlier test has published
    triggers = Triggers({topic: Subscription(got.take)}, {"tick": got.take_bound}, invoke)
    async with everything(redis, tmp_path, triggers, observed, "sesame") as caller:
        await caller.publish(topic, b'{"n":1}')
        await until(lambda: got.deliveries and got.bound, "a topic and a binding bring something")
        status, answer = await caller.post(f"invoke/{caller.sidecar.app_id}/method/connections", b'{"x":1}')
    assert (status, answer) == (200, b'{"ok":true}')
    assert got.invoked == [("connections", b'{"x":1}')]
    event = got.deliveries[0].event
    assert (event.topic, event.data, event.content_type) == (topic, b'{"n":1}', "application/json")
    assert event.time
    assert observed.warnings == []


@pytest.mark.parametrize(
    "error", [StoreError("away"), ZeroDivisionError("ours"), PermanentError("never"), TimeoutError("slow")], ids=repr
)
async def test_what_a_handler_raises_is_delivered_again_then_dead_lettered(
    redis: Broker, tmp_path: Path, error: Exception
):
    got, observed = Got(), Observed()
    topic, dead = f"poison{tmp_path.name}", f"dead{tmp_path.name}"
    topics = {topic: Subscription(lambda _: raised(error), dead), dead: Subscription(got.take)}
    async with everything(redis, tmp_path, Triggers(topics), observed) as caller:
        await caller.publish(topic, b'{"n":1}')
        await until(lambda: got.deliveries, "it is dead-lettered")
    (delivery,) = got.deliveries
    assert (delivery.event.topic, delivery.published_to, delivery.event.data) == (dead, topic, b'{"n":1}')
    assert [name for name, _ in observed.warnings] == ["delivery_failed"] * 3
    is_ours = isinstance(error, ZeroDivisionError | TimeoutError)
    assert ("trace" in observed.warnings[0][1]) is is_ours


async def test_an_event_that_arrives_without_its_data_says_what_its_sender_must_do(redis: Broker, tmp_path: Path):
    got = Got()
    document = {"specversion": "1.0", "id": "1", "source": "/shop", "type": "t", "data": {"command": "connect"}}
    cloud_event = "application/cloudevents+json"
    topic = f"emptied{tmp_path.name}"
    async with everything(redis, tmp_path, Triggers({topic: Subscription(got.take)}), Observed()) as caller:
        await caller.publish(topic, json.dumps(document).encode(), cloud_event)
        await until(lambda: len(got.deliveries) == 1, "it arrives")
        typed = {**document, "id": "2", "datacontenttype": "application/json", "time": "2026-01-31T12:00:00Z"}
        await caller.publish(topic, json.dumps(typed).encode(), cloud_event)
        await until(lambda: len(got.deliveries) == 2, "it arrives")
    emptied, whole = got.deliveries
    assert emptied.event.data == b""
    assert emptied.problem is not None
    assert "datacontenttype application/json" in emptied.problem
    assert (whole.event.data, whole.event.time, whole.problem) == (
        b'{"command":"connect"}',
        "2026-01-31T12:00:00Z",
        None,
    )


async def test_json_is_written_anew_on_its_way_and_large_numbers_lose_digits(redis: Broker, tmp_path: Path):
    got, topic = Got(), f"digits{tmp_path.name}"
    async with everything(redis, tmp_path, Triggers({topic: Subscription(got.take)}), Observed()) as caller:
        await caller.publish(topic, b'{"b": 12345678901234567890, "a": 1.10}')
        await until(lambda: got.deliveries, "it arrives")
    assert got.deliveries[0].event.data == b'{"a":1.1,"b":12345678901234567000}'


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        (NotFoundError("no such thing"), 404, "no such thing"),
        (InvalidInputError("query", [FieldProblem("ids", "must be a list")]), 400, "query: ids: must be a list"),
        (TransientError("away"), 503, "away"),
        (PermanentError("never"), 500, "never"),
        (ZeroDivisionError("secret"), 500, "internal error; see the log"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_what_a_method_raises_is_told_to_its_caller(
    redis: Broker, tmp_path: Path, error: Exception, status: int, text: str
):
    observed = Observed()

    async def invoke(method: str, body: bytes) -> bytes:
        raise error

    triggers = Triggers({"a": Subscription(Got().take)}, invoke=invoke)
    async with everything(redis, tmp_path, triggers, observed) as caller:
        answered, answer = await caller.post(f"invoke/{caller.sidecar.app_id}/method/connections", b"{}")
    assert answered == status
    assert json.loads(answer)["message"].endswith(text)
    assert [name for name, _ in observed.warnings] == (["delivery_failed"] if "internal" in text else [])


async def test_without_methods_a_call_is_not_found_and_the_health_of_the_app_is_told(redis: Broker, tmp_path: Path):
    got, is_healthy = Got(), [True]
    topic = f"healthy{tmp_path.name}"
    triggers = Triggers({topic: Subscription(got.take)}, is_healthy=lambda: is_healthy[0])
    check = ("--enable-app-health-check", "--app-health-probe-interval", "1", "--app-health-threshold", "1")
    async with (
        started(server(triggers, Observed())) as app,
        sidecar_of(app, redis, tmp_path, args=check) as sidecar,
        caller_of(sidecar) as caller,
    ):
        status, _ = await caller.post(f"invoke/{sidecar.app_id}/method/connections", b"{}")
        assert status == 404
        is_healthy[0] = False
        await until(lambda: "App entered un-healthy status" in sidecar.log.read_text(), "unhealthy")
        is_healthy[0] = True
        await until(lambda: sidecar.log.read_text().count("App entered healthy status") == 2, "healthy again")
        async with asyncio.timeout(20):
            while not got.deliveries:  # the first goes to a reader of before, and comes a minute later
                await caller.publish(topic, b"1")
                await asyncio.sleep(0.2)
