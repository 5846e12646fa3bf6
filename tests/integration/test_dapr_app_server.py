"""The app's server, called as a sidecar calls it, and as strangers do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import InvokeRequest, InvokeResponse
from dapr.proto.runtime.v1.appcallback_pb2 import (
    TopicEventBulkRequest,
    TopicEventBulkRequestEntry,
    TopicEventBulkResponse,
    TopicEventCERequest,
    TopicEventRequest,
    TopicEventResponse,
)

from runtime.adapters.dapr.callbacks import AppServer, Subscription, Triggers
from runtime.adapters.dapr.deliveries import Delivery
from runtime.errors import PermanentError, StoreError
from tests.dapr_app import Got, server, started
from tests.embedded import Observed

pytestmark = pytest.mark.integration

CALLBACK = "/dapr.proto.runtime.v1.AppCallback/"


async def test_what_shows_no_token_hands_nothing_over():
    got, observed = Got(), Observed()

    async def invoke(method: str, body: bytes) -> bytes:
        raise AssertionError

    triggers = Triggers({"a": Subscription(got.take)}, {"tick": got.take_bound}, invoke)
    async with started(server(triggers, observed, "sesame")) as app:
        for token in (None, "", "wrong", "sesam\u00e9".encode()):
            key = "dapr-api-token-bin" if isinstance(token, bytes) else "dapr-api-token"
            metadata = () if token is None else ((key, token),)
            for method, request in (("OnTopicEvent", TopicEventRequest(topic="a")), ("OnInvoke", InvokeRequest())):
                async with grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:
                    call = channel.unary_unary(CALLBACK + method, request_serializer=type(request).SerializeToString)
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await call(request, metadata=metadata, timeout=10)
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
    assert got.deliveries == []


Call = Callable[[str, Any, Any], Coroutine[Any, Any, Any]]


@asynccontextmanager
async def called(app: AppServer) -> AsyncIterator[Call]:
    """Calls the app as a sidecar would."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{app.port}") as channel:

        async def call(method: str, request: Any, answer: Any) -> Any:
            stub = channel.unary_unary(
                CALLBACK + method,
                request_serializer=type(request).SerializeToString,
                response_deserializer=answer.FromString,
            )
            return await stub(request, timeout=20)

        yield call


async def test_an_event_of_an_unknown_topic_is_asked_for_again():
    observed = Observed()
    async with started(server(Triggers(), observed)) as app, called(app) as call:
        answer = await call("OnTopicEvent", TopicEventRequest(topic="nobody's", id="1"), TopicEventResponse)
    assert answer.status == TopicEventResponse.TopicEventResponseStatus.RETRY
    assert observed.warnings == [("topic_unknown", {"topic": "nobody's", "event_id": "1"})]


async def test_a_bulk_delivery_is_taken_in_order_and_answered_for_each_entry():
    got, observed = Got(), Observed()

    async def take(delivery: Delivery) -> None:
        await asyncio.sleep(0.01 if delivery.event.data == b"1" else 0)
        await got.take(delivery)
        if delivery.event.data == b"2":
            raise StoreError("away")

    entries = [
        TopicEventBulkRequestEntry(
            entry_id=str(number), cloud_event=TopicEventCERequest(id=str(number), data=b"%d" % number)
        )
        for number in (1, 2)
    ]
    entries.append(TopicEventBulkRequestEntry(entry_id="3", bytes=b"3", content_type="text/plain"))
    async with started(server(Triggers({"a": Subscription(take)}), observed)) as app, called(app) as call:
        answer = await call(
            "OnBulkTopicEvent", TopicEventBulkRequest(topic="a", entries=entries), TopicEventBulkResponse
        )
    status = TopicEventResponse.TopicEventResponseStatus
    assert [(each.entry_id, each.status) for each in answer.statuses] == [
        ("1", status.SUCCESS),
        ("2", status.RETRY),
        ("3", status.SUCCESS),
    ]
    assert [delivery.event.data for delivery in got.deliveries] == [b"1", b"2", b"3"]


async def test_a_call_in_flight_ends_before_the_server_does():
    begun, ended = asyncio.Event(), asyncio.Event()

    async def invoke(method: str, body: bytes) -> bytes:
        begun.set()
        await asyncio.sleep(0.3)
        ended.set()
        return b"1"

    app = server(Triggers(invoke=invoke), Observed())
    await app.start()
    async with called(app) as call:
        running = asyncio.create_task(call("OnInvoke", InvokeRequest(method="m"), InvokeResponse))
        await begun.wait()
        await app.stop()
        assert ended.is_set()
        assert (await running).data.value == b"1"


async def test_a_port_that_is_taken_is_named():
    async with started(server(Triggers(), Observed())) as app:
        other = AppServer(Triggers(), Observed(), pubsub="pubsub", port=app.port, token=None)
        with pytest.raises(PermanentError, match=f"the app port {app.port} is taken"):
            await other.start()
        await other.stop()


async def test_the_app_listens_on_loopback_only():
    async with started(server(Triggers(), Observed())) as app:
        lines = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
    listening = [line.split()[1] for line in lines.splitlines() if line.split()[3] == "0A"]
    (address,) = [address for address in listening if address.endswith(f":{app.port:04X}")]
    assert address.endswith(f"0100007F:{app.port:04X}")
