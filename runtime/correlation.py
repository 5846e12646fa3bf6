"""Which message is meant: by a JSON pointer, a text that it holds, a regular expression, or simply the next one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import orjson

from runtime.models.commands import Match
from runtime.models.condition import PATTERN_MAX_BYTES, Condition, compile_pattern

_MISSING = object()
_INDEX = re.compile("0|[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a message must look like; None stands for no condition. `pattern`: a compiled one.

    `is_any_value`: the value at the pointer has to be there, and not null.
    """

    pointer: str | None
    value: Any
    contains: str | None
    pattern: Any = None
    is_any_value: bool = False

    @classmethod
    def of(cls, condition: Condition) -> Expectation:
        """As an option says."""
        pattern = compile_pattern(condition.regex) if condition.regex is not None else None
        return cls(condition.pointer, condition.equals, condition.contains, pattern, condition.equals is None)

    def is_met_by(self, payload: str | bytes) -> bool:
        """Whether a message is one that is meant."""
        if self.contains is not None and not _contains(payload, self.contains):
            return False
        if self.pattern is not None and not _matches(payload, self.pattern):
            return False
        if self.pointer is None:
            return True
        found = _at(payload, self.pointer)
        if self.is_any_value:
            return found is not _MISSING and found is not None
        return found is not _MISSING and _is_same(found, self.value)


def expected(condition: Condition | None) -> Expectation | None:
    """What an option asks for, if it asks for anything."""
    return Expectation.of(condition) if condition is not None else None


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


def _matches(payload: str | bytes, pattern: Any) -> bool:
    """Of a text only what is looked at is encoded: a character has one byte at least."""
    data = payload[:PATTERN_MAX_BYTES].encode() if isinstance(payload, str) else payload
    return pattern.search(data[:PATTERN_MAX_BYTES]) is not None


def _is_same(found: Any, value: Any) -> bool:
    """As JSON has it: `true` is not 1, which Python takes for the same."""
    try:
        return _are_same(found, value)
    except RecursionError:  # orjson reads deeper nesting than Python compares
        return False


def _are_same(found: Any, value: Any) -> bool:
    if isinstance(found, dict) and isinstance(value, dict):
        return found.keys() == value.keys() and all(_are_same(each, value[key]) for key, each in found.items())
    if isinstance(found, list) and isinstance(value, list):
        return len(found) == len(value) and all(map(_are_same, found, value))
    return found == value and isinstance(found, bool) == isinstance(value, bool)


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
        elif isinstance(value, list) and _INDEX.fullmatch(token) and int(token) < len(value):
            value = value[int(token)]
        else:
            return _MISSING
    return value
