"""What a prepare call is told, and what it answers."""

from __future__ import annotations

from pydantic import Field

from runtime.models.opening import AnyStep
from runtime.models.stream import MAX_OPENING_MESSAGES
from runtime.models.wire import WireModel


class PrepareQuestion(WireModel):
    """Sent before each dial. No URL: it may hold secrets."""

    id: str
    epoch: int
    generation: int


class PrepareAnswer(WireModel):
    """What replaces that of the record, for this dial only. Taken as it is: `${name}` means nothing in it."""

    url: str | None = None
    headers: dict[str, str] = {}
    opening_messages: tuple[AnyStep, ...] | None = Field(None, max_length=MAX_OPENING_MESSAGES)
