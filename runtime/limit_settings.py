"""Settings of what is bounded: dials to one remote host, what options may ask for, connections with one tag."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, Field, field_validator, model_validator

from runtime.guard.entries import split_list
from runtime.models.connection import MAX_TAG_KEY
from runtime.models.dials import DialLimits
from runtime.models.option_limits import OptionLimits, limit_setting
from runtime.models.options import KIB, WebSocketOptions

_DIALS = DialLimits()
_LIMITS = OptionLimits()
_DEFAULTS = WebSocketOptions()


class LimitSettings(BaseModel):
    """Bounds. A limit of an option is never below its default: a command that does not name the option is accepted."""

    dials_per_host: int = Field(
        _DIALS.in_window,
        ge=0,
        le=1_000_000,
        description="dials to one remote host (host and port) in a window, of all hosts together; 0: any number",
    )
    dial_window_s: float = Field(_DIALS.window_s, ge=1, le=86_400, description="that window")
    dials_per_host_at_once: int = Field(
        _DIALS.at_once,
        ge=0,
        le=1_000_000,
        description="dials to one remote host in flight, of all hosts together; 0: any number",
    )
    max_connections_per_tag: int = Field(
        0, ge=0, le=100_000, description="connections that may have the same tag with the same value; 0: any number"
    )
    counted_tags: str | None = Field(None, description="keys of the tags for which that holds; else all of them")
    max_handshake_bytes_limit: int = Field(
        _LIMITS.max_handshake_bytes,
        ge=_DEFAULTS.max_handshake_bytes,
        le=_LIMITS.max_handshake_bytes,
        description="the most that a command may ask for by maxHandshakeBytes, headers of the answer to a handshake",
    )
    max_message_bytes_limit: int = Field(
        _LIMITS.max_message_bytes,
        ge=_DEFAULTS.max_message_bytes,
        le=_LIMITS.max_message_bytes,
        description="the same for maxMessageBytes, the size of a message and of its frames",
    )
    max_fragments_limit: int = Field(
        _LIMITS.max_fragments,
        ge=_DEFAULTS.max_fragments,
        le=_LIMITS.max_fragments,
        description="the same for maxFragments, the fragments of a message",
    )
    queue_max_bytes_limit: int = Field(
        _LIMITS.queue_max_bytes,
        ge=_DEFAULTS.queue_max_bytes,
        le=_LIMITS.queue_max_bytes,
        description="the same for queueMaxBytes, the memory of frames that are read and not yet published",
    )
    connect_timeout_limit_s: float = Field(
        _LIMITS.connect_timeout_s,
        ge=_DEFAULTS.connect_timeout_s,
        le=_LIMITS.connect_timeout_s,
        description="the same for connectTimeoutS, the time of a dial with its handshake",
    )
    assembly_timeout_limit_s: float = Field(
        _LIMITS.assembly_timeout_s,
        ge=_DEFAULTS.assembly_timeout_s,
        le=_LIMITS.assembly_timeout_s,
        description="the same for assemblyTimeoutS, the time from the first to the last bytes of a message",
    )
    options_bytes_limit: int = Field(
        _LIMITS.options_bytes, ge=4 * KIB, description="size of all options of a connection, as JSON"
    )

    @field_validator("counted_tags")
    @classmethod
    def _keys_can_be_tags(cls, value: str | None) -> str | None:
        if any(len(key) > MAX_TAG_KEY for key in split_list(value)):
            raise ValueError(f"a tag has a key of at most {MAX_TAG_KEY} characters")
        return value

    @model_validator(mode="after")
    def _limits_can_be_reached(self) -> Self:
        in_window, at_once = self.dials_per_host, self.dials_per_host_at_once
        if 0 < in_window < at_once:
            budget = f"--dials-per-host ({in_window})"
            raise ValueError(f"--dials-per-host-at-once ({at_once}) is above {budget}, and can never be reached")
        return self

    def dial_limits(self) -> DialLimits:
        """The dial budget of each remote host."""
        return DialLimits(self.dials_per_host, self.dial_window_s, self.dials_per_host_at_once)

    def option_limits(self) -> OptionLimits:
        """What options may ask for."""
        return OptionLimits(**{name: getattr(self, limit_setting(name)) for name in OptionLimits.__dataclass_fields__})

    def tag_keys(self) -> tuple[str, ...]:
        """The keys of the tags whose connections are counted; empty for all."""
        return tuple(split_list(self.counted_tags))
