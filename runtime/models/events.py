"""Events about connections, and the CloudEvents 1.0 form in which everything is published."""

from __future__ import annotations

from base64 import b64encode
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

import orjson

from runtime.models.outcome import Outcome
from runtime.models.wire import UtcTime, WireModel, format_time

SOURCE = "websocket-manager"
TYPE_PREFIX = "io.websocket-manager."
FRAME = TYPE_PREFIX + "frame"
FRAMES = TYPE_PREFIX + "frames"
STATUS = TYPE_PREFIX + "status"
GAP = TYPE_PREFIX + "gap"
OUTCOME = TYPE_PREFIX + "outcome"
ANSWER = TYPE_PREFIX + "answer"
NOTICE = TYPE_PREFIX + "notice"
HANDOVER = TYPE_PREFIX + "handover"
COMMAND = TYPE_PREFIX + "command"
DEAD_LETTER = TYPE_PREFIX + "dead-letter"
PROBE = TYPE_PREFIX + "probe"
"""Of an event on the topic of commands by which `wsm doctor` measures its way."""

JSON = "application/json"
BINARY = "application/octet-stream"


class StatusChanged(WireModel):
    """What a connection is doing now. `attempt` counts failures in a row."""

    connection_id: str
    status: str
    generation: int
    epoch: int
    instance_id: str | None = None
    reason: str | None = None
    attempt: int | None = None
    retry_in_s: float | None = None
    at: UtcTime


class GapKind(StrEnum):
    """`dropped`: read and numbered, not published. `blind`: nobody was reading."""

    DROPPED = "dropped"
    BLIND = "blind"


class GapAnnounced(WireModel):
    """A hole in the stream of a connection: sequences for `dropped`, times for `blind`, both inclusive."""

    connection_id: str
    epoch: int
    kind: GapKind
    reason: str
    from_sequence: int | None = None
    to_sequence: int | None = None
    from_time: UtcTime | None = None
    to_time: UtcTime | None = None

    @property
    def event_id(self) -> str:
        """Unique for each hole."""
        hole = self.from_sequence or (self.to_time.isoformat() if self.to_time else "")
        return f"{self.connection_id}.{self.epoch}.{self.kind}.{hole}"

    @property
    def frames(self) -> int:
        """How many were read and dropped."""
        if self.from_sequence is None or self.to_sequence is None:
            return 0
        return self.to_sequence - self.from_sequence + 1


class HandedOver(WireModel):
    """An epoch has ended, and its frames are published up to `lastSequence`: another host has the connection now.

    `isComplete`: it was connected before this one stopped to read, so that nothing is missing between the two.
    """

    connection_id: str
    epoch: int
    instance_id: str | None
    last_sequence: int
    is_complete: bool
    at: UtcTime


class Notice(WireModel):
    """Something an operator should know that ends no command: a quarantined record, lost events."""

    connection_id: str | None = None
    reason: str
    at: UtcTime


class Event(NamedTuple):
    """One event for a topic: CloudEvents attributes and `data`. A tuple, since that is made in a third of the time.

    Where `content_type` is JSON, `data` is JSON text without a line break, or empty for an event without data. An
    empty `source` is this manager; an empty `subject` is none. `is_raw`: `data` is published without the attributes.
    `frames`: how many it carries, 1 for what is no frame.
    """

    id: str
    topic: str
    type: str
    subject: str
    time: str
    data: bytes
    content_type: str = JSON
    source: str = ""
    is_raw: bool = False
    frames: int = 1

    def attributes(self, source: str, pubsub: str) -> dict[str, str]:
        """The CloudEvents context attributes; `topic` and `pubsubname` as a Dapr sidecar adds them."""
        attributes = {
            "specversion": "1.0",
            "id": self.id,
            "source": self.source or source,
            "type": self.type,
            "time": self.time,
            "datacontenttype": self.content_type,
            "topic": self.topic,
            "pubsubname": pubsub,
        }
        return attributes | {"subject": self.subject} if self.subject else attributes


def media_type(content_type: str) -> str:
    """A content type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def is_json(content_type: str) -> bool:
    """Whether data of this content type is JSON text."""
    media = media_type(content_type)
    return media == JSON or media.endswith("+json")


class CloudEventEncoder:
    """Writes events as CloudEvents 1.0 JSON documents (structured mode)."""

    __slots__ = ("_cache", "_pubsub", "_source")

    def __init__(self, source: str, pubsub: str) -> None:
        self._source = source
        self._pubsub = pubsub
        self._cache: dict[tuple[str, str, str], bytes] = {}

    def published(self, event: Event) -> bytes:
        """What is published, without a line break: the document, or only the data where the event is raw."""
        return event.data if event.is_raw else self.encode(event)

    def encode(self, event: Event) -> bytes:
        """One document without a line break."""
        if event.content_type != JSON or event.source or not event.data:
            return self._foreign(event)
        return b'{"specversion":"1.0","id":%b,"time":%b,%b,"data":%b}' % (
            orjson.dumps(event.id),
            orjson.dumps(event.time),
            self._constant(event),
            event.data,
        )

    def _constant(self, event: Event) -> bytes:
        """All that is the same for many events, encoded once."""
        key = (event.type, event.subject, event.topic)
        known = self._cache.get(key)
        if known is None:
            if len(self._cache) > 50_000:
                self._cache.clear()
            attributes = event.attributes(self._source, self._pubsub)
            del attributes["specversion"], attributes["id"], attributes["time"]
            known = self._cache[key] = orjson.dumps(attributes)[1:-1]
        return known

    def _foreign(self, event: Event) -> bytes:
        """Any content, as a Dapr sidecar writes it: JSON as it is, text as text, all else as base64."""
        document: dict[str, Any] = dict(event.attributes(self._source, self._pubsub))
        if is_json(event.content_type):
            return orjson.dumps(document | {"data": orjson.Fragment(event.data)} if event.data else document)
        text = None if media_type(event.content_type) == BINARY else _text(event.data)
        content = {"data_base64": b64encode(event.data).decode()} if text is None else {"data": text}
        return orjson.dumps(document | content)


def _text(data: bytes) -> str | None:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def event_of(topic: str, type_: str, event_id: str, subject: str | None, time: datetime, model: WireModel) -> Event:
    """An event whose data is a model."""
    return Event(event_id, topic, type_, subject or "", format_time(time), model.to_json())


def outcome_event(topic: str, outcome: Outcome) -> Event:
    """The event of an outcome."""
    return event_of(topic, OUTCOME, outcome.event_id, outcome.connection_id, outcome.at, outcome)
