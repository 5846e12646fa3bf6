"""What a user may set for one connection: timeouts, reconnect policy, limits and buffers."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, field_validator, model_validator

from runtime.models.handshake import HandshakeOptions
from runtime.models.opening import Step
from runtime.models.stream import StreamOptions

KIB = 1024
MIB = 1024 * KIB


class Overflow(StrEnum):
    """What happens when the queue of a connection is full."""

    BLOCK = "block"
    DROP_OLDEST = "drop_oldest"


class Delivery(StrEnum):
    """How frames become events."""

    MESSAGE = "message"
    BATCH = "batch"


class WebSocketOptions(HandshakeOptions, StreamOptions):
    """Options of one connection. Durations are in seconds, sizes in bytes; 0 switches a timer off."""

    connect_timeout_s: float = Field(
        10,
        gt=0,
        le=120,
        description="from dial to the end of the handshake; again for each opening message to be taken",
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
    idle_timeout_s: float = Field(
        0,
        ge=0,
        le=86400,
        description="longest time without a message, answers to heartbeats and dropMatching aside; 0: off",
    )
    assembly_timeout_s: float = Field(
        60, ge=0, le=86400, description="from the first bytes of a message to its last; 0: off"
    )
    max_handshake_bytes: int = Field(
        64 * KIB,
        ge=KIB,
        le=MIB,
        description="headers of the answer to the handshake, of which there may be 128 of 8 KiB each",
    )
    max_message_bytes: int = Field(MIB, ge=1, le=256 * MIB, description="larger messages close with 1009")
    max_frame_bytes: int = Field(
        0, ge=0, le=256 * MIB, description="a frame; larger ones close with 1009; 0: as a message"
    )
    max_fragments: int = Field(4096, ge=1, le=65_536, description="of one message; more close with 1009")
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
        if self.max_frame_bytes > self.max_message_bytes:
            raise ValueError(
                f"maxFrameBytes ({self.max_frame_bytes}) is above maxMessageBytes ({self.max_message_bytes})"
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

    @model_validator(mode="after")
    def _age_fits_other_timers(self) -> Self:
        if 0 < self.max_age_s <= self.stable_after_s:
            raise ValueError(
                f"maxAgeS ({self.max_age_s:g}) must be above stableAfterS ({self.stable_after_s:g}), "
                "or no failure is ever forgiven"
            )
        if 0 < self.max_age_s <= self.idle_timeout_s:
            raise ValueError(
                f"idleTimeoutS ({self.idle_timeout_s:g}) must be below maxAgeS ({self.max_age_s:g}), "
                "or it never ends a socket"
            )
        return self

    @model_validator(mode="after")
    def _messages_name_known_secrets(self) -> Self:
        sent = [step.data for step in self.opening_messages if isinstance(step, Step)]
        for text in (*sent, self.heartbeat.data if self.heartbeat is not None else None):
            self.check_placeholders(text or "")
        return self
