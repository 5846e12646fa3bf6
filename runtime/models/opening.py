"""What a connection says of its own accord: the steps of the opening script, and the heartbeat."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from runtime.models.condition import Condition
from runtime.models.message import MAX_DATA, Message, check_base64, text_is_a_message
from runtime.models.secrets import SecretReference
from runtime.models.wire import WireModel


class Step(WireModel):
    """One step of the opening script: send, or wait for a message, or both. A bare string is sent as text."""

    data: str | None = Field(None, max_length=MAX_DATA, description="sent; base64 of a binary message")
    binary: bool = Field(default=False, description="send it as a binary message")
    expect: Condition | None = Field(None, description="the message that ends the step; without it, sending does")
    refused_by: Condition | None = Field(None, description="a message that says no: a refusal, as HTTP 401 would be")
    within_s: float | None = Field(
        None, gt=0, le=300, description="wait for the expected message; by default connectTimeoutS"
    )

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.data is None and self.expect is None:
            raise ValueError("a step has data to send, or a message to expect, or both")
        if self.expect is None and (self.refused_by is not None or self.within_s is not None):
            raise ValueError("refusedBy and withinS need expect: nothing is waited for without it")
        if self.binary:
            check_base64(self.data or "")
        return self

    def content(self) -> str | bytes | None:
        """What goes on the wire; None for a step that only waits."""
        return b64decode(self.data) if self.binary and self.data is not None else self.data


AnyStep = Annotated[Step, BeforeValidator(text_is_a_message, json_schema_input_type=str | Step)]


class Heartbeat(Message):
    """A message that is sent again and again while the connection is Connected."""

    interval_s: float = Field(gt=0, le=86400, description="between two of them")
    expect: Condition | None = Field(None, description="its answer; without it nothing is waited for")
    within_s: float | None = Field(
        None, gt=0, le=86400, description="wait for the answer; by default intervalS, and never longer"
    )
    publish_answers: bool = Field(default=True, description="false: the answers are not published")

    @model_validator(mode="after")
    def _one_at_a_time(self) -> Self:
        if self.expect is None and (self.within_s is not None or not self.publish_answers):
            raise ValueError("withinS and publishAnswers need expect: no answer is waited for without it")
        if self.within_s is not None and self.within_s > self.interval_s:
            raise ValueError(f"withinS ({self.within_s:g}) is above intervalS ({self.interval_s:g})")
        return self

    @property
    def patience_s(self) -> float:
        """How long to wait for an answer."""
        return self.within_s or self.interval_s


def _which(value: object) -> str:
    is_reference = isinstance(value, dict) and any(str(key).lower() == "secret" for key in value)
    return "secret" if is_reference or isinstance(value, SecretReference) else "step"


StepOrSecret = Annotated[
    Annotated[AnyStep, Tag("step")] | Annotated[SecretReference, Tag("secret")], Discriminator(_which)
]
