"""What the publisher asks of a sidecar, and what it makes of answers that no broker here can be brought to give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import orjson
import pytest
from dapr.proto.runtime.v1.pubsub_pb2 import BulkPublishRequest, BulkPublishResponse, PublishEventRequest
from google.protobuf.empty_pb2 import Empty

from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.publisher import DaprBroker
from runtime.errors import EventRefusedError, PublishError
from runtime.models.events import Event
from tests.cloud_events import STRUCTURED, read_cloud_event
from tests.embedded import Observed

pytestmark = pytest.mark.integration

NOW = "2026-01-31T12:00:00.123456Z"
Call = tuple[str, list[str]]


class Asked:
    """A sidecar that keeps what it is asked to publish; `failures` says for a topic how it fails.

    `reasons` says for the id of an event how it fails when it is published alone.
    """

    def __init__(self) -> None:
        self.requests: list[BulkPublishRequest] = []
        self.failures: dict[str, tuple[grpc.StatusCode, str]] = {}
        self.alone: list[PublishEventRequest] = []
        self.reasons: dict[str, str] = {}

    async def publish(self, request: BulkPublishRequest, context: Any) -> BulkPublishResponse:
        self.requests.append(request)
        if request.topic in self.failures:
            await context.abort(*self.failures[request.topic])
        return BulkPublishResponse()

    async def publish_alone(self, request: PublishEventRequest, context: Any) -> Empty:
        self.alone.append(request)
        if reason := self.reasons.get(orjson.loads(request.data)["id"]):
            await context.abort(grpc.StatusCode.INTERNAL, reason)
        return Empty()

    @property
    def calls(self) -> list[Call]:
        return [
            (request.topic, [orjson.loads(entry.event)["id"] for entry in request.entries]) for request in self.requests
        ]


@asynccontextmanager
async def broker_on(asked: Asked, kind: str = "pubsub.redis") -> AsyncIterator[DaprBroker]:
    method = grpc.unary_unary_rpc_method_handler(
        asked.publish,
        request_deserializer=BulkPublishRequest.FromString,
        response_serializer=BulkPublishResponse.SerializeToString,
    )
    server = grpc.aio.server()
    alone = grpc.unary_unary_rpc_method_handler(
        asked.publish_alone,
        request_deserializer=PublishEventRequest.FromString,
        response_serializer=Empty.SerializeToString,
    )
    methods = {"BulkPublishEvent": method, "PublishEvent": alone}
    service = grpc.method_handlers_generic_handler("dapr.proto.runtime.v1.Dapr", methods)
    server.add_generic_rpc_handlers([service])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = Channel(f"127.0.0.1:{port}", None)
    try:
        yield DaprBroker(channel, "pubsub", kind, "websocket-manager", Observed())
    finally:
        await channel.close()
        await server.stop(None)


def event(id_: str, topic: str = "t", subject: str = "a") -> Event:
    return Event(id_, topic, "io.test", subject, NOW, b'{"n":1}')


async def test_events_of_a_topic_go_in_one_call_in_their_order():
    asked = Asked()
    async with broker_on(asked) as broker:
        await broker.publish_many([event("1"), event("2", "u"), event("3")])
    assert asked.calls == [("t", ["1", "3"]), ("u", ["2"])]
    (first, _) = asked.requests[0].entries
    assert first.content_type == "application/cloudevents+json"
    assert read_cloud_event(STRUCTURED, first.event).get_data() == {"n": 1}
    assert not first.metadata


async def test_only_kafka_keeps_the_order_of_a_call_and_gets_the_connection_as_the_key():
    asked = Asked()
    async with broker_on(asked, "pubsub.kafka") as broker:
        assert broker.keeps_order
        await broker.publish_many([event("1", subject="conn:1"), event("2", subject="")])
    assert [dict(entry.metadata) for entry in asked.requests[0].entries] == [{"partitionKey": "conn:1"}, {}]
    async with broker_on(asked, "pubsub.redis") as broker:
        assert not broker.keeps_order


async def test_of_a_call_that_fails_those_in_front_whose_topics_went_through_have_arrived():
    asked = Asked()
    asked.failures["bad"] = (grpc.StatusCode.INTERNAL, "connection refused")
    async with broker_on(asked) as broker:
        with pytest.raises(PublishError, match=r"the pub/sub pubsub failed \(INTERNAL\): connection refused") as failed:
            await broker.publish_many([event("1"), event("2"), event("3", "bad"), event("4")])
    assert failed.value.published == 2


@pytest.mark.parametrize(
    "details",
    [
        "grpc: received message larger than max (5000257 vs. 4194304)",
        "InvalidParameter: Invalid parameter: Message too long",
        "kafka server: Message was too large, server rejected it to avoid allocation error",
        "kafka: invalid configuration (message larger than configured Producer.MaxMessageBytes: 2 > 1)",
        "the message is too large",
        "nats: maximum payload exceeded",
        "cannot create cloudevent",
    ],
)
async def test_a_refusal_is_of_the_one_event_even_where_a_topic_before_it_went_through(details: str):
    asked = Asked()
    asked.failures["bad"] = (grpc.StatusCode.INTERNAL, details)
    async with broker_on(asked) as broker:
        with pytest.raises(EventRefusedError, match="the event cannot be published to bad") as refused:
            await broker.publish_many([event("1"), event("2", "bad"), event("3")])
    assert refused.value.index == 1
    assert asked.calls == [("t", ["1", "3"]), ("bad", ["2"]), ("bad", ["2"])]


async def test_the_event_that_a_bulk_call_of_kafka_fails_for_without_a_word_is_found_by_publishing_each_alone():
    asked = Asked()
    asked.failures["t"] = (grpc.StatusCode.INTERNAL, "kafka: Failed to deliver 1 messages.")
    asked.reasons["2"] = "kafka server: Message was too large"
    async with broker_on(asked, "pubsub.kafka") as broker:
        with pytest.raises(EventRefusedError, match="Message was too large") as refused:
            await broker.publish_many([event("1"), event("2"), event("3")])
    assert refused.value.index == 1
    assert [(each.metadata["partitionKey"], each.data_content_type) for each in asked.alone] == [
        ("a", "application/cloudevents+json")
    ] * 2


async def test_when_kafka_is_away_the_first_event_says_so_and_no_other_is_tried():
    asked = Asked()
    asked.failures["t"] = (grpc.StatusCode.INTERNAL, "kafka: Failed to deliver 3 messages.")
    asked.reasons["1"] = "kafka: client has run out of available brokers to talk to"
    async with broker_on(asked, "pubsub.kafka") as broker:
        with pytest.raises(PublishError, match="run out of available brokers") as failed:
            await broker.publish_many([event("1"), event("2"), event("3")])
    assert failed.value.published == 0
    assert len(asked.alone) == 1


@pytest.mark.parametrize("code", [grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INVALID_ARGUMENT])
async def test_any_other_failure_is_not_the_fault_of_an_event(code: grpc.StatusCode):
    asked = Asked()
    asked.failures["t"] = (code, "pubsub pubsub is not found")
    async with broker_on(asked) as broker:
        with pytest.raises(PublishError) as failed:
            await broker.publish_many([event("1")])
    assert failed.value.published == 0


async def test_an_event_without_data_goes_without():
    asked = Asked()
    async with broker_on(asked) as broker:
        await broker.publish_many([event("1")._replace(data=b"")])
    document = orjson.loads(asked.requests[0].entries[0].event)
    assert document["id"] == "1"
    assert not {"data", "data_base64"} & document.keys()
