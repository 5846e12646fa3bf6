"""Which message answers a request: a JSON pointer, a text that it holds, or simply the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson

from runtime.models.commands import Match

_MISSING = object()


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the answer must look like; None stands for no condition."""

    pointer: str | None
    value: Any
    contains: str | None

    def is_met_by(self, payload: str | bytes) -> bool:
        """Whether a message is the answer."""
        if self.contains is not None and not _contains(payload, self.contains):
            return False
        if self.pointer is None:
            return True
        found = _at(payload, self.pointer)
        return found is not _MISSING and found == self.value


def expect(match: Match, sent: str | bytes) -> Expectation:
    """The expectation of a request: without `equals`, the answer repeats the value that was sent."""
    value = match.equals
    if match.pointer is not None and value is None:
        value = _at(sent, match.pointer)
    return Expectation(match.pointer, value, match.contains)


def lacks_value(match: Match, sent: str | bytes) -> bool:
    """Whether the answer should repeat a value that the message sent does not have."""
    return match.pointer is not None and match.equals is None and _at(sent, match.pointer) is _MISSING


def _contains(payload: str | bytes, text: str) -> bool:
    return text in payload if isinstance(payload, str) else text.encode() in payload


def _at(payload: str | bytes, pointer: str) -> Any:
    """The value at a JSON pointer (RFC 6901); _MISSING when there is none."""
    try:
        value: Any = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return _MISSING
    for part in pointer.split("/")[1:]:
        token = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict):
            value = value.get(token, _MISSING)
        elif isinstance(value, list) and token.isdecimal() and int(token) < len(value):
            value = value[int(token)]
        else:
            return _MISSING
    return value
