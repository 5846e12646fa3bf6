"""The commands: one discriminated union on `command`, read from JSON in any of its wrappings."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, TypeAdapter, model_validator
from typing_extensions import override

from runtime.models.connection import MAX_TAG_KEY, MAX_TAG_VALUE, MAX_TAGS
from runtime.models.message import AnyMessage
from runtime.models.options import WebSocketOptions
from runtime.models.wire import UtcTime, WireModel
from runtime.urls import has_user_info, parse_url

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_TOPIC = re.compile(r"[A-Za-z0-9._:/-]{1,249}")
MAX_SEND_MESSAGES = 100


def _check_id(value: str) -> str:
    if not _ID.fullmatch(value):
        raise ValueError("must be 1 to 128 characters out of A-Z a-z 0-9 . _ : -")
    if value == "index":
        raise ValueError("'index' is reserved: its record would have the key of the index")
    return value


def is_connection_id(value: str) -> bool:
    """Whether a connection may be called so."""
    try:
        _check_id(value)
    except ValueError:
        return False
    return True


def _check_topic(value: str) -> str:
    if not _TOPIC.fullmatch(value):
        raise ValueError("must be 1 to 249 characters out of A-Z a-z 0-9 . _ : / -")
    return value


def _check_url(value: str) -> str:
    parse_url(value)
    return value


def _check_tags(tags: dict[str, str]) -> dict[str, str]:
    if len(tags) > MAX_TAGS:
        raise ValueError(f"holds {len(tags)} tags; at most {MAX_TAGS}")
    for key, value in tags.items():
        if not 1 <= len(key) <= MAX_TAG_KEY or len(value) > MAX_TAG_VALUE:
            raise ValueError(f"a tag has a key of 1 to {MAX_TAG_KEY} and a value of at most {MAX_TAG_VALUE} characters")
    return tags


ConnectionId = Annotated[str, AfterValidator(_check_id)]
Topic = Annotated[str, AfterValidator(_check_topic)]
Url = Annotated[str, AfterValidator(_check_url)]
Tags = Annotated[dict[str, str], AfterValidator(_check_tags)]


class BaseCommand(WireModel):
    """What every command may carry. `issuedAt` orders commands; `commandId` makes a repeat recognisable."""

    is_about_connection: ClassVar[bool] = True
    command_id: str | None = Field(None, min_length=1, max_length=256)
    issued_at: UtcTime | None = None

    @property
    def warnings(self) -> list[str]:
        """What was read but not understood."""
        return [f"unknown field '{name[:64]}' was ignored" for name in self.unknown_fields]


class Connect(BaseCommand):
    """Create a connection, or confirm one: the same again changes nothing."""

    command: Literal["connect"] = "connect"
    id: ConnectionId | None = None
    url: Url
    topic: Topic | None = None
    auto_reconnect: bool = False
    tags: Tags = {}
    options: WebSocketOptions = WebSocketOptions()
    replace: bool = False

    @model_validator(mode="after")
    def _url_and_options_fit(self) -> Self:
        self.options.check_placeholders(self.url)
        has_header = any(name.lower() == "authorization" for name in self.options.headers)
        if has_header and has_user_info(self.url):
            raise ValueError("url has user-info, and options.headers has Authorization: give one of them")
        return self

    @property
    @override
    def warnings(self) -> list[str]:
        return [
            *super().warnings,
            *(f"unknown option '{n[:64]}' was ignored" for n in self.options.unknown_fields),
        ]


class Disconnect(BaseCommand):
    """Close with 1000 and remove, or `keep` the record as Disconnected."""

    command: Literal["disconnect"] = "disconnect"
    id: ConnectionId
    keep: bool = False


class Reconnect(BaseCommand):
    """Close and dial again; also revives what has ended."""

    command: Literal["reconnect"] = "reconnect"
    id: ConnectionId


class StartPublish(BaseCommand):
    """Set the topic, from the next frame received."""

    command: Literal["startPublish"] = "startPublish"
    id: ConnectionId
    topic: Topic


class StopPublish(BaseCommand):
    """Clear the topic, from the next frame received."""

    command: Literal["stopPublish"] = "stopPublish"
    id: ConnectionId


class SetTags(BaseCommand):
    """Replace all tags."""

    command: Literal["setTags"] = "setTags"
    id: ConnectionId
    tags: Tags


class Send(BaseCommand):
    """Send one message, or several in order, to the socket."""

    command: Literal["send"] = "send"
    id: ConnectionId
    message: AnyMessage | None = None
    messages: tuple[AnyMessage, ...] = Field((), max_length=MAX_SEND_MESSAGES)
    ttl_s: float = Field(60, gt=0, le=3600)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.message is None) == (not self.messages):
            raise ValueError("give either message or messages")
        return self

    def all_messages(self) -> tuple[AnyMessage, ...]:
        """The messages in order, whichever form was used."""
        return self.messages or ((self.message,) if self.message else ())


class Match(WireModel):
    """Which message is the answer. Without any field it is the next one that arrives.

    `pointer` is a JSON pointer (RFC 6901): the value there must be `equals`, or by default the value at the same
    place of the message that was sent. `contains` is a text that the answer holds.
    """

    pointer: str | None = Field(None, max_length=512, pattern=r"^(/.*)?$")
    equals: Any = None
    contains: str | None = Field(None, min_length=1, max_length=1024)


class Request(BaseCommand):
    """Send a message and wait for the correlated answer, which also goes to `replyTopic`."""

    command: Literal["request"] = "request"
    id: ConnectionId
    message: AnyMessage
    match: Match = Match()
    reply_topic: Topic | None = None
    timeout_s: float | None = Field(None, gt=0, le=300)
    ttl_s: float = Field(60, gt=0, le=3600)

    @model_validator(mode="after")
    def _timers(self) -> Self:
        if self.timeout_s is not None and self.timeout_s > self.ttl_s:
            raise ValueError(f"timeoutS ({self.timeout_s:g}) is above ttlS ({self.ttl_s:g})")
        return self


class Drain(BaseCommand):
    """Have a host hand its connections over and claim no more."""

    is_about_connection: ClassVar[bool] = False
    command: Literal["drain"] = "drain"
    instance: str = Field(pattern=r"^[A-Za-z0-9._:-]{1,128}$")


Command = Connect | Disconnect | Reconnect | StartPublish | StopPublish | SetTags | Send | Request | Drain
COMMAND_ADAPTER: TypeAdapter[Command] = TypeAdapter(Annotated[Command, Field(discriminator="command")])
