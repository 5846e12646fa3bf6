"""What the sidecar hands over of an event."""

from __future__ import annotations

from dataclasses import dataclass

from dapr.proto.runtime.v1.appcallback_pb2 import TopicEventBulkRequestEntry, TopicEventCERequest, TopicEventRequest

from runtime.models.events import BINARY, Event

_EMPTIED = (
    "the sidecar handed over no data, as it does for a CloudEvent whose datacontenttype is missing or neither JSON nor "
    "text: publish it with the datacontenttype application/json"
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event of a topic. `published_to` is another topic than the event's if the sidecar has moved it since."""

    event: Event
    published_to: str

    @property
    def problem(self) -> str | None:
        """Why there is no data, if the sidecar has left it out: the sender has to publish in another way."""
        return None if self.event.data else _EMPTIED


def delivery_of_request(request: TopicEventRequest) -> Delivery:
    """A single delivery."""
    return _delivery(request.topic, request)


def delivery_of_entry(topic: str, entry: TopicEventBulkRequestEntry) -> Delivery:
    """One of a bulk delivery: a CloudEvent, or bytes where the topic is read raw."""
    if entry.HasField("cloud_event"):
        return _delivery(topic, entry.cloud_event)
    return Delivery(Event(entry.entry_id, topic, "", "", "", entry.bytes, entry.content_type or BINARY), topic)


def _delivery(topic: str, request: TopicEventRequest | TopicEventCERequest) -> Delivery:
    """Time, subject and the topic of its publisher come as extensions."""
    known = {name: value.string_value for name, value in request.extensions.fields.items()}
    event = Event(
        id=request.id,
        topic=topic,
        type=request.type,
        subject=known.get("subject", ""),
        time=known.get("time", ""),
        data=request.data,
        content_type=request.data_content_type,
        source=request.source,
    )
    return Delivery(event, known.get("topic") or topic)
