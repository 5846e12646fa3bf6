"""Managers of the profile `dapr` alone on a stage: processes in the mode `all` on one sidecar, real or null.

They get commands and nudges at their app ports, as a sidecar gives them, so that several may share one, and a null
sidecar need not know what a command is. Their leases are long: a process that is stopped between its turns is not dead.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
from dapr.proto.common.v1.common_pb2 import InvokeRequest, InvokeResponse
from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventRequest, TopicEventResponse
from google.protobuf.any_pb2 import Any as AnyMessage

from runtime.ports import DEFAULT_NAMES
from runtime.settings import Settings
from tests.acceptance.dapr.stack import App
from tests.bench.null_sidecar import channel_to
from tests.brokers import Broker, running_redis
from tests.processes import free_ports
from tests.sidecar import COMPONENTS, Sidecar, running_sidecar

PUBSUB = DEFAULT_NAMES.pubsub
QUEUED = 10_000  # messages in all queues of a manager: they are full before a window opens, not filling within it
LONG_S = 3600
PATIENCE_S = 60
CALLS_AT_ONCE = 16
# No pings: the feed does not read while it floods.
OPTIONS = {"pingIntervalS": 0, "connectTimeoutS": 30}


@dataclass(frozen=True)
class Stage:
    """A sidecar without an app, with Redis behind it."""

    redis: Broker
    sidecar: Sidecar

    @property
    def ports(self) -> dict[str, str]:
        """Where the sidecar is, as variables of an environment."""
        return {"DAPR_GRPC_PORT": str(self.sidecar.grpc_port), "DAPR_HTTP_PORT": str(self.sidecar.http_port)}


class Manager:
    """A running manager, and the way to its app port."""

    def __init__(self, app: App, channel: Any) -> None:
        self.app = app
        self._slots = asyncio.Semaphore(CALLS_AT_ONCE)
        self._invoke = _method(channel, "OnInvoke", InvokeRequest, InvokeResponse)
        self._deliver = _method(channel, "OnTopicEvent", TopicEventRequest, TopicEventResponse)

    @property
    def pid(self) -> int:
        return self.app.pid

    async def invoke(self, method: str, **body: Any) -> Any:
        """What a method of the handlers answers."""
        request = InvokeRequest(method=method, data=AnyMessage(value=orjson.dumps(body)))
        return orjson.loads((await self._invoke(request, timeout=PATIENCE_S)).data.value)

    async def connect(self, urls: Sequence[str], topic: str, **options: Any) -> list[str]:
        """Connect to all, and wait until they are; their queues together hold as much for one as for many. The ids."""
        options = {**OPTIONS, "queueMaxMessages": max(1, QUEUED // len(urls)), **options}
        ids = {uuid4().hex: url for url in urls}
        async with asyncio.TaskGroup() as group:
            for id_, url in ids.items():
                group.create_task(self._connect(id=id_, url=url, topic=topic, options=options))
        async with asyncio.timeout(PATIENCE_S):
            while Counter(each["status"] for each in await self.invoke("connections"))["Connected"] < len(urls):
                await asyncio.sleep(0.1)
        return list(ids)

    async def _connect(self, **body: Any) -> None:
        async with self._slots:
            outcome = await self.invoke("connect", **body)
            assert outcome["status"] == "accepted", outcome
            nudge = TopicEventRequest(topic=DEFAULT_NAMES.host_topic, data=body["id"].encode())
            await self._deliver(nudge, timeout=PATIENCE_S)


@asynccontextmanager
async def staged(folder: Path) -> AsyncIterator[Stage]:
    """A real sidecar, with topics and state of the component set `local`."""
    resources = folder / "resources"
    resources.mkdir()
    for name in ("pubsub", "statestore"):
        shutil.copy(COMPONENTS / "local" / f"{name}.yaml", resources)
    with running_redis(folder) as redis:
        sidecar = Sidecar(DEFAULT_NAMES.host_app_id, resources, folder, env=redis.env)
        async with running_sidecar(sidecar):
            yield Stage(redis, sidecar)


@asynccontextmanager
async def managing(folder: Path, name: str, grpc_port: int, *args: str) -> AsyncIterator[Manager]:
    """A manager on the sidecar at a port. `name`: of its instance, and of the folder of its log."""
    (own := folder / name).mkdir()
    (app_port,) = free_ports(1)
    long = "--lease-s", str(LONG_S), "--loop-stall-limit-s", str(LONG_S), "--no-rebalance"
    args = "--instance-id", name, "--lanes", str(lanes()), *long, *args
    app = App("all", own, *args, app_port=app_port, grpc_port=grpc_port)
    try:
        app.spawn()
        await asyncio.to_thread(app.wait_ready)
        async with channel_to(app_port) as channel:
            yield Manager(app, channel)
    finally:
        app.kill()


def lanes() -> int:
    """As by default, or as WSM_LANES says."""
    return Settings().lanes


def _method(channel: Any, name: str, request: Any, answer: Any) -> Any:
    return channel.unary_unary(
        f"/dapr.proto.runtime.v1.AppCallback/{name}",
        request_serializer=request.SerializeToString,
        response_deserializer=answer.FromString,
    )
