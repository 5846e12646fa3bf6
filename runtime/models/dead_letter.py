"""What was refused for good, whole: it says why, and can be taken in again."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from datetime import datetime
from typing import Any, Self

import orjson
from pydantic import Field, field_validator

from runtime.models.events import DEAD_LETTER, Event, event_of
from runtime.models.wire import UtcTime, WireModel


class DeadLetter(WireModel):
    """An event that was refused, and why. Its JSON is the data of an event on the dead-letter topic.

    `id` is the event's, for a command its commandId; `subject` is the connection's id; `at` is when it was refused.
    `left_out_bytes` is the size of data that nobody would carry: such a letter tells of its event and cannot give it
    back.
    """

    reason: str
    topic: str
    type: str
    id: str
    source: str = ""
    subject: str
    time: str
    content_type: str
    data_base64: str
    left_out_bytes: int = Field(0, ge=0)
    at: UtcTime

    @field_validator("data_base64")
    @classmethod
    def _is_base64(cls, value: str) -> str:
        try:
            b64decode(value, validate=True)
        except Base64Error:
            raise ValueError("must be base64") from None
        return value

    @classmethod
    def of(cls, event: Event, reason: str, at: datetime) -> Self:
        """The dead letter of an event."""
        return cls(
            reason=reason,
            topic=event.topic,
            type=event.type,
            id=event.id,
            source=event.source,
            subject=event.subject,
            time=event.time,
            content_type=event.content_type,
            data_base64=b64encode(event.data).decode(),
            at=at,
        )

    @classmethod
    def carried_by(cls, event: Event) -> Self:
        """The letter in an event of the dead-letter topic. Raises InvalidInputError."""
        letter: Self = cls.read(orjson.loads(event.data))
        return letter

    def without_data(self) -> Self:
        """The same for who does not take it whole."""
        size = self.size_bytes
        reason = f"{self.reason}; and its {size} bytes are too many for the dead letters"
        return self.model_copy(update={"reason": reason, "data_base64": "", "left_out_bytes": size})

    @property
    def size_bytes(self) -> int:
        """Of the event's data, whether they are here or not."""
        return self.left_out_bytes or len(b64decode(self.data_base64))

    @property
    def event(self) -> Event:
        """The event as it was."""
        data = b64decode(self.data_base64)
        return Event(self.id, self.topic, self.type, self.subject, self.time, data, self.content_type, self.source)

    def carried_to(self, topic: str) -> Event:
        """The event that carries this letter to the dead-letter topic."""
        return event_of(topic, DEAD_LETTER, f"dead.{self.id}", self.subject, self.at, self)

    def view(self) -> dict[str, Any]:
        """What may be shown to anyone: all but the payload, of which only the size."""
        shown = self.to_wire()
        del shown["dataBase64"]
        return {key: shown[key] for key in ("id", "topic", "type", "subject", "time", "contentType")} | {
            "sizeBytes": self.size_bytes,
            "reason": self.reason,
            "at": shown["at"],
        }
