"""The Publisher and Nudges ports on a pub/sub component."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence

import grpc
import orjson
from dapr.proto.runtime.v1.pubsub_pb2 import BulkPublishRequest, PublishEventRequest
from google.protobuf.empty_pb2 import Empty

from runtime.adapters.dapr.bulk_call import BulkCall
from runtime.adapters.dapr.channel import Sidecar, reason_of
from runtime.errors import EventRefusedError, PublishError
from runtime.models.events import JSON, CloudEventEncoder, Event, media_type
from runtime.ports import Observer

PUBLISH_DEADLINE_S = 30.0
CLOUD_EVENT = "application/cloudevents+json"
KAFKA = "pubsub.kafka"

_Call = tuple[str, bool]
"""Topic, and whether raw: what the events of one bulk call have in common."""

# What sidecar, SNS, NATS, Kafka and Service Bus say of an event that is too large, and the sidecar of data that is not
# what its content type says. The codes do not tell: a broker that is away has the same ones.
_REFUSALS = ("larger than", "Message too long", "maximum payload exceeded", "too large", "cannot create cloudevent")
_KEPT_BACK = "kafka: Failed to deliver"  # all that its bulk call says; a single one gives the reason


class DaprBroker:
    """Publishes in bulk, a call for each topic; a failed call tells nothing about which of its events got through.

    Only Kafka keeps the order of a bulk call; with all other brokers the sidecar or the broker spreads it (measured).

    Events go to the sidecar as whole CloudEvents, which it takes as they are: from bare data it would make one with a
    time of its own. What is neither `application/json` nor text goes as base64, since the sidecar hands over no other
    data to an app that speaks gRPC. JSON it reads and writes anew: numbers beyond 2^53 lose digits on their way.
    """

    def __init__(
        self, sidecar: Sidecar, pubsub: str, component_type: str, source: str, observer: Observer, *, lanes: int = 4
    ) -> None:
        self._sidecar, self._pubsub, self._source, self._observer = sidecar, pubsub, source, observer
        self._encode = CloudEventEncoder(source, pubsub).encode
        self._bulk = BulkCall(sidecar, observer, PUBLISH_DEADLINE_S)
        self.keeps_order = component_type == KAFKA
        self.lanes = lanes

    async def publish_many(self, events: Sequence[Event]) -> None:
        calls: dict[_Call, list[Event]] = {}
        for event in events:
            calls.setdefault((event.topic, event.is_raw), []).append(event)
        arrived: set[_Call] = set()
        for call, its_events in calls.items():
            try:
                await self._publish(call, its_events)
            except _RefusedError:
                await self._one_by_one(events, arrived)
                return
            except PublishError as error:
                raise PublishError(str(error), published=_leading(events, arrived)) from None
            arrived.add(call)

    async def nudge(self, topic: str, connection_id: str) -> None:
        request = PublishEventRequest(
            pubsub_name=self._pubsub, topic=topic, data=connection_id.encode(), data_content_type="text/plain"
        )
        try:
            await self._sidecar.call("PublishEvent", request, Empty)
        except grpc.aio.AioRpcError as error:
            reason = reason_of(error, self._sidecar, f"the pub/sub {self._pubsub}")
            self._observer.log("nudge_lost", id=connection_id, topic=topic, reason=reason)

    async def _one_by_one(self, events: Sequence[Event], arrived: set[_Call]) -> None:
        """Find the event that is refused, in the order of the call."""
        for index, event in enumerate(events):
            call = event.topic, event.is_raw
            if call in arrived:
                continue
            try:
                await self._publish(call, [event])
            except _RefusedError as error:
                raise EventRefusedError(str(error), index=index) from None
            except PublishError as error:
                raise PublishError(str(error), published=index) from None

    async def _publish(self, call: _Call, events: Sequence[Event]) -> None:
        topic, is_raw = call
        metadata = {"rawPayload": "true"} if is_raw else None
        request = BulkPublishRequest(pubsub_name=self._pubsub, topic=topic, metadata=metadata)
        for number, event in enumerate(events):
            self._add(request, str(number), event)
        try:
            try:
                await self._bulk(request)
            except grpc.aio.AioRpcError as error:
                if _KEPT_BACK not in (error.details() or ""):
                    raise
                if len(events) > 1:
                    raise _RefusedError(f"of these events to {topic} at least one was not delivered") from None
                await self._bulk.one_by_one(request)
        except grpc.aio.AioRpcError as error:
            raise self._meaning(error, topic) from None

    def _meaning(self, error: grpc.aio.AioRpcError, topic: str) -> _RefusedError | PublishError:
        details = error.details() or ""
        if any(text in details for text in _REFUSALS):
            return _RefusedError(f"the event cannot be published to {topic}: {details}")
        return PublishError(reason_of(error, self._sidecar, f"the pub/sub {self._pubsub}"))

    def _add(self, request: BulkPublishRequest, entry_id: str, event: Event) -> None:
        """Make its entry in its place: a list of entries would be copied."""
        metadata = {"partitionKey": event.subject} if self.keeps_order and event.subject else None
        content, content_type = (
            (event.data, event.content_type) if event.is_raw else (self._document(event), CLOUD_EVENT)
        )
        request.entries.add(entry_id=entry_id, event=content, content_type=content_type, metadata=metadata)

    def _document(self, event: Event) -> bytes:
        if not event.data:
            return orjson.dumps(event.attributes(self._source, self._pubsub))
        if event.content_type == JSON:
            return self._encode(event)
        media = media_type(event.content_type)
        if media == JSON or media.startswith("text/"):
            return self._encode(event)
        data = {"data_base64": b64encode(event.data).decode()}
        return orjson.dumps(event.attributes(self._source, self._pubsub) | data)


def _leading(events: Sequence[Event], arrived: set[_Call]) -> int:
    """How many events at the front are of calls that went through."""
    return next(
        (index for index, event in enumerate(events) if (event.topic, event.is_raw) not in arrived), len(events)
    )


class _RefusedError(Exception):
    """The call is refused, or may be, for one of its events."""
