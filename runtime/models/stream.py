"""What a user may set for the messages of a connection: what opens it, keeps it alive, ends it, and is published."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator
from typing_extensions import override

from runtime.models.condition import Condition
from runtime.models.opening import Heartbeat, Step, StepOrSecret
from runtime.models.wire import WireModel

MAX_OPENING_MESSAGES = 32


class StreamOptions(WireModel):
    """Options that look at messages. None of them costs anything where it is not set."""

    opening_messages: tuple[StepOrSecret, ...] = Field(
        (),
        max_length=MAX_OPENING_MESSAGES,
        description="the opening script, run after each dial; the connection is Connected when it has passed",
    )
    opening_delay_s: float = Field(0, ge=0, le=60, description="between two messages of the opening script")
    heartbeat: Heartbeat | None = Field(None, description="a message sent again and again, and its answer")
    max_age_s: float = Field(
        0, ge=0, le=30 * 86400, description="age at which a socket is exchanged for a new one; 0: off"
    )
    rotate_on: Condition | None = Field(None, description="a message upon which it is exchanged likewise")
    only_text: bool = Field(default=False, description="binary messages are not published")
    only_matching: Condition | None = Field(None, description="only messages that fit are published")
    drop_matching: Condition | None = Field(None, description="messages that fit are not published")
    json_payload: bool = Field(
        default=False, description="payload is JSON, not a text of it, where the text is JSON; see contentType"
    )

    @property
    @override
    def unknown_fields(self) -> list[str]:
        inner = [f"{where}.{name}" for where, model in self._nested() for name in sorted(model.model_extra or ())]
        return [*super().unknown_fields, *inner]

    def _nested(self) -> Iterator[tuple[str, WireModel]]:
        found: list[tuple[str, WireModel | None]] = [
            ("heartbeat", self.heartbeat),
            ("heartbeat.expect", self.heartbeat.expect if self.heartbeat is not None else None),
            ("rotateOn", self.rotate_on),
            ("onlyMatching", self.only_matching),
            ("dropMatching", self.drop_matching),
        ]
        for number, step in enumerate(self.opening_messages):
            if isinstance(step, Step):
                at = f"openingMessages.{number}"
                found += [(at, step), (f"{at}.expect", step.expect), (f"{at}.refusedBy", step.refused_by)]
        return ((where, model) for where, model in found if model is not None)

    @model_validator(mode="after")
    def _ages_fit(self) -> Self:
        if self.heartbeat is not None and 0 < self.max_age_s <= self.heartbeat.interval_s:
            raise ValueError(
                f"heartbeat.intervalS ({self.heartbeat.interval_s:g}) must be below maxAgeS ({self.max_age_s:g}), "
                "or none is ever sent"
            )
        return self
