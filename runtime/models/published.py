"""What applications publish: a body and its content type, or a CloudEvent of their own."""

from __future__ import annotations

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import orjson
from pydantic import Field, field_validator

from runtime.errors import FieldProblem, InvalidInputError
from runtime.models.events import BINARY, JSON, Event, is_json, media_type
from runtime.models.wire import WireModel

CLOUD_EVENT = "application/cloudevents+json"
DEFAULT_TYPE = "com.dapr.event.sent"
_CONTENT_TYPE = re.compile(r"[\x20-\x7e]{1,256}")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


class CloudEventDocument(WireModel):
    """A CloudEvents 1.0 document in structured mode, as far as it is used."""

    specversion: str = Field(pattern=r"^1\.0$")
    id: str = Field(min_length=1)
    source: str = Field(min_length=1)
    type: str = Field(min_length=1)
    subject: str | None = None
    time: str | None = None
    datacontenttype: str = JSON
    data: Any = None
    data_base64: str | None = None

    @field_validator("time")
    @classmethod
    def _is_rfc3339(cls, value: str | None) -> str | None:
        if value is not None and not _RFC3339.fullmatch(value):
            raise ValueError("must be an RFC 3339 time such as 2026-01-31T12:00:00Z")
        return value

    def content(self) -> bytes:
        """The data as bytes of its content type."""
        if self.data_base64 is not None:
            return _from_base64(self.data_base64, "data_base64")
        if "data" not in self.model_fields_set:
            return b""
        if isinstance(self.data, str) and not is_json(self.datacontenttype):
            return self.data.encode()
        return _to_json(self.data, "data")


def read_published(topic: str, body: bytes, content_type: str, metadata: Mapping[str, str], now: str) -> Event:
    """The event that a publish call means; `now` is the time of one that has none. Raises InvalidInputError.

    Data is not looked at: see `with_valid_data`.
    """
    if media_type(content_type) == CLOUD_EVENT:
        document: CloudEventDocument = CloudEventDocument.read(_json(body, "event"))
        return Event(
            document.id,
            topic,
            document.type,
            document.subject or "",
            document.time or now,
            document.content(),
            _content_type(document.datacontenttype),
            document.source,
        )
    return Event(
        metadata.get("cloudevent.id") or str(uuid4()),
        topic,
        metadata.get("cloudevent.type") or DEFAULT_TYPE,
        metadata.get("cloudevent.subject", ""),
        now,
        body,
        _content_type(content_type),
        metadata.get("cloudevent.source", ""),
    )


def with_valid_data(event: Event) -> Event:
    """The event with JSON data on one line. Raises InvalidInputError if it is not JSON though it says so."""
    if not is_json(event.content_type) or (event.source and not event.data):
        return event
    _json(event.data, "data")
    # JSON allows a line break only between its tokens.
    return event._replace(data=event.data.replace(b"\n", b" ").replace(b"\r", b" "))


def read_bulk(body: bytes) -> list[dict[str, Any]]:
    """The entries of a bulk publish call. Raises InvalidInputError when the call as a whole is wrong."""
    entries = _json(body, "bulk publish")
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("entryId"), str) and entry["entryId"] and "event" in entry
        for entry in entries
    ):
        raise _invalid("bulk publish", "must be a list of objects with entryId and event")
    if len({entry["entryId"] for entry in entries}) != len(entries):
        raise _invalid("bulk publish", "holds an entryId twice")
    return entries


def read_entry(entry: Mapping[str, Any]) -> tuple[bytes, str, dict[str, str]]:
    """Body, content type and metadata of one entry. Raises InvalidInputError."""
    event, content_type, metadata = entry["event"], entry.get("contentType") or JSON, entry.get("metadata") or {}
    if not isinstance(content_type, str):
        raise _invalid("contentType", "must be a string")
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _invalid("metadata", "must be an object of strings")
    if is_json(content_type):
        return _to_json(event, "event"), content_type, metadata
    if not isinstance(event, str):
        raise _invalid("event", f"must be a string, since contentType is {content_type[:64]}")
    is_binary = media_type(content_type) == BINARY
    return _from_base64(event, "event") if is_binary else event.encode(), content_type, metadata


def _content_type(value: str) -> str:
    if not _CONTENT_TYPE.fullmatch(value):
        raise _invalid("content type", "must be 1 to 256 printable ASCII characters")
    return value


def _json(body: bytes, subject: str) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise _invalid(subject, f"is not JSON: {error}") from None


def _to_json(value: Any, subject: str) -> bytes:
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError as error:  # it reads deeper nesting than it writes
        raise _invalid(subject, f"cannot be written as JSON: {error}") from None


def _from_base64(text: str, subject: str) -> bytes:
    try:
        return b64decode(text, validate=True)
    except (Base64Error, ValueError):
        raise _invalid(subject, "must be base64") from None


def _invalid(subject: str, what: str) -> InvalidInputError:
    return InvalidInputError(subject, [FieldProblem("", what)])
