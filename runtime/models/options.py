"""What a user may set for one connection: timeouts, reconnect policy, limits and buffers."""

from __future__ import annotations

from base64 import b64decode
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from runtime.models.wire import WireModel

KIB = 1024
MIB = 1024 * KIB
MAX_OPENING_MESSAGES = 32


class Overflow(StrEnum):
    """What happens when the queue of a connection is full."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"


class Delivery(StrEnum):
    """How frames become events."""

    MESSAGE = "message"
    BATCH = "batch"


class Message(WireModel):
    """One message for the socket: text, or binary with `data` in base64. A bare string is read as text."""

    data: str = Field(max_length=MIB)
    binary: bool = False

    @model_validator(mode="after")
    def _binary_is_base64(self) -> Self:
        if self.binary:
            try:
                b64decode(self.data, validate=True)
            except ValueError:
                raise ValueError("data of a binary message must be base64") from None
        return self

    def content(self) -> str | bytes:
        """What goes on the wire."""
        return b64decode(self.data) if self.binary else self.data


def _text_is_a_message(value: object) -> object:
    return {"data": value} if isinstance(value, str) else value


AnyMessage = Annotated[Message, BeforeValidator(_text_is_a_message, json_schema_input_type=str | Message)]


class WebSocketOptions(WireModel):
    """Options of one connection. Durations are in seconds, sizes in bytes; 0 switches a timer off."""

    connect_timeout_s: float = Field(
        10, gt=0, le=120, description="from dial to the end of the handshake; again for the opening messages"
    )
    close_timeout_s: float = Field(5, gt=0, le=60, description="wait for the peer's close frame")
    request_timeout_s: float = Field(10, gt=0, le=300, description="wait for the answer to a request")
    reconnect_attempts: int = Field(5, ge=0, le=1_000_000, description="failures in a row; 0: without end")
    reconnect_base_delay_s: float = Field(1, gt=0, le=3600, description="cap of the first delay")
    reconnect_max_delay_s: float = Field(30, gt=0, le=86400, description="cap of every delay")
    refused_attempts: int = Field(3, ge=1, le=1000, description="refusals in a row (401, 404, 1008 …)")
    stable_after_s: float = Field(10, ge=0, le=86400, description="life after which failures are forgiven")
    ping_interval_s: float = Field(20, ge=0, le=86400, description="between keepalive pings; 0: off")
    ping_timeout_s: float = Field(20, gt=0, le=86400, description="wait for a pong or any frame")
    idle_timeout_s: float = Field(0, ge=0, le=86400, description="longest time without a message; 0: off")
    assembly_timeout_s: float = Field(
        60, ge=0, le=86400, description="from the first bytes of a message to its last; 0: off"
    )
    max_message_bytes: int = Field(MIB, ge=1, le=256 * MIB, description="larger messages close with 1009")
    queue_max_messages: int = Field(10_000, ge=1, le=10_000_000, description="messages read, not yet published")
    queue_max_bytes: int = Field(16 * MIB, ge=KIB, le=4096 * MIB, description="their memory")
    overflow: Overflow = Overflow.BLOCK
    delivery: Delivery = Field(
        Delivery.MESSAGE, description="message: an event for each frame; batch: one for all that has gathered"
    )
    batch_max_messages: int = Field(500, ge=1, le=100_000, description="frames in one event")
    batch_max_bytes: int = Field(192 * KIB, ge=1, le=64 * MIB, description="their envelopes; one may be larger")
    raw_payload: bool = Field(default=False, description="publish without a CloudEvent around")
    overlap: bool = Field(
        default=True, description="when it moves between hosts, the new socket is opened before the old one is closed"
    )
    opening_messages: tuple[AnyMessage, ...] = Field((), max_length=MAX_OPENING_MESSAGES)

    @field_validator("overflow", mode="before")
    @classmethod
    def _either_spelling(cls, value: object) -> object:
        return "drop_oldest" if value == "dropOldest" else value

    @model_validator(mode="after")
    def _no_contradiction(self) -> Self:
        if self.reconnect_base_delay_s > self.reconnect_max_delay_s:
            raise ValueError(
                f"reconnectBaseDelayS ({self.reconnect_base_delay_s:g}) is above "
                f"reconnectMaxDelayS ({self.reconnect_max_delay_s:g})"
            )
        if self.queue_max_bytes < self.max_message_bytes:
            raise ValueError(
                f"queueMaxBytes ({self.queue_max_bytes}) could not hold one message of "
                f"maxMessageBytes ({self.max_message_bytes})"
            )
        if 0 < self.idle_timeout_s <= self.stable_after_s:
            raise ValueError(
                f"idleTimeoutS ({self.idle_timeout_s:g}) must be above stableAfterS "
                f"({self.stable_after_s:g}), or a silent feed is never forgiven its failures"
            )
        return self
