"""`wsm tail` with a real sidecar of its own, on Redis: what it shows, and what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.request import Request

import pytest

from runtime.adapters.dapr.callbacks import AppServer, Triggers
from runtime.ports import Names
from tests.acceptance.dapr.streams import Stream, ask
from tests.acceptance.manager import WSM
from tests.brokers import Broker
from tests.embedded import Observed
from tests.processes import Process
from tests.sidecar import COMPONENTS, DIRECT, Sidecar, daprd_path, started_sidecar
from tests.wsm import Background

pytestmark = pytest.mark.integration

PATIENCE_S = 60


@dataclass
class Tailed:
    """A sidecar to publish by, with an app behind it that says of itself what `wsm tail` asks."""

    folder: Path
    redis: Broker
    sidecar: Sidecar
    resources: Path

    def publish(self, topic: str, numbers: Sequence[int]) -> None:
        """As fast as it goes: the sidecar publishes all of them at once."""
        entries = [{"entryId": str(n), "event": {"n": n}, "contentType": "application/json"} for n in numbers]
        url = self.sidecar.url.replace("v1.0", f"v1.0-alpha1/publish/bulk/pubsub/{topic}")
        request = Request(url, json.dumps(entries).encode(), {"Content-Type": "application/json"})
        DIRECT.open(request, timeout=30).close()

    @contextmanager
    def tail(self, name: str, topic: str) -> Iterator[Process]:
        """A tail that has shown an event, and so is subscribed; it is ended by SIGTERM."""
        env = {
            "PATH": f"{Path(daprd_path()).parent}{os.pathsep}{os.environ['PATH']}",
            "DAPR_HTTP_PORT": str(self.sidecar.http_port),
            "WSM_RESOURCES": str(self.resources),
            "XDG_STATE_HOME": str(self.folder / "state"),
        }

        def is_ready() -> bool:
            self.publish(topic, [-1])
            time.sleep(0.1)
            return bool(numbers(tail))

        tail = Process(name, [*WSM, "tail", topic, "--json"], self.folder, is_ready, env={**self.redis.env, **env})
        try:
            tail.start()
            yield tail
        finally:  # in order, or its sidecar stays
            code = tail.stop() if tail.is_alive else tail.exit_code
        assert code == 0, tail.tail()


def numbers(tail: Process) -> list[int]:
    """Those of the events that it has shown so far."""
    lines = tail.log.read_text().splitlines(keepends=True)
    return [json.loads(line)["data"]["n"] for line in lines if line.startswith("{") and line.endswith("\n")]


@asynccontextmanager
async def handlers() -> AsyncIterator[AppServer]:
    async def invoke(method: str, body: bytes) -> bytes:
        return b"{}"

    app = AppServer(Triggers(invoke=invoke), Observed(), pubsub="pubsub", port=0, token=None)
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


@pytest.fixture(scope="module")
def tailed(redis: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tailed]:
    folder = tmp_path_factory.mktemp("tailed")
    resources = folder / "components"
    resources.mkdir()
    for name in ("pubsub.yaml", "resiliency.yaml"):
        shutil.copy(COMPONENTS / "local" / name, resources)
    with Background(handlers()) as app:
        sidecar = Sidecar(Names().handlers_app_id, resources, folder, app_port=app.value.port, env=redis.env)
        with started_sidecar(sidecar):
            yield Tailed(folder, redis, sidecar, resources)


def shown(tail: Process, count: int) -> list[int]:
    """So many numbers, once they have come."""
    deadline = time.monotonic() + PATIENCE_S
    while len(seen := [n for n in numbers(tail) if n >= 0]) < count:
        assert time.monotonic() < deadline, f"{len(seen)} of {count} events came"
        time.sleep(0.1)
    return seen


def test_it_shows_events_in_the_order_of_the_broker(tailed: Tailed):
    with tailed.tail("ordered", "many") as tail:
        for first in range(0, 2_000, 100):
            tailed.publish("many", range(first, first + 100))
        seen = shown(tail, 2_000)
    published = [event["data"]["n"] for event in Stream(tailed.redis.port, "many").read()]
    assert seen == [n for n in published if n >= 0]


def test_two_at_once_get_all_and_the_next_one_leaves_nothing_new_behind(tailed: Tailed):
    with tailed.tail("one", "few") as one, tailed.tail("other", "few") as other:
        tailed.publish("few", range(50))
        for tail in (one, other):
            assert sorted(shown(tail, 50)) == list(range(50))
    with tailed.tail("next", "few"):
        pass
    assert len(ask(tailed.redis.port, "XINFO", "GROUPS", "few")) == 2
