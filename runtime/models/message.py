"""One message for a socket, as a command or an option writes it."""

from __future__ import annotations

from base64 import b64decode
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from runtime.models.wire import WireModel

MAX_DATA = 1024 * 1024


class Message(WireModel):
    """One message for the socket: text, or binary with `data` in base64. A bare string is read as text."""

    data: str = Field(max_length=MAX_DATA, description="sent; base64 of a binary message")
    binary: bool = Field(default=False, description="send it as a binary message")

    @model_validator(mode="after")
    def _binary_is_base64(self) -> Self:
        if self.binary:
            check_base64(self.data)
        return self

    def content(self) -> str | bytes:
        """What goes on the wire."""
        return b64decode(self.data) if self.binary else self.data


def check_base64(data: str) -> None:
    """Raises ValueError for a text that is not the `data` of a binary message."""
    try:
        b64decode(data, validate=True)
    except ValueError:
        raise ValueError("data of a binary message must be base64") from None


def text_is_a_message(value: object) -> object:
    """A bare string stands for a text message."""
    return {"data": value} if isinstance(value, str) else value


AnyMessage = Annotated[Message, BeforeValidator(text_is_a_message, json_schema_input_type=str | Message)]
