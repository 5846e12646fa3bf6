"""What a message must look like, as an option says it."""

from __future__ import annotations

from functools import lru_cache
from typing import Annotated, Any, Self

import re2  # type: ignore[import-untyped]  # it comes without types
from pydantic import AfterValidator, Field, model_validator

from runtime.models.wire import WireModel

MAX_PATTERN = 512
# RE2 never backtracks, but where its automaton grows too large it takes about 2 ns for each byte and instruction: a
# pattern of 18,000 took 35 s for one message of 1 MiB. So both are bounded: 64 KiB take 65 ms at the very worst.
PATTERN_MAX_INSTRUCTIONS = 500
PATTERN_MAX_BYTES = 64 * 1024
POINTER = r"^(/.*)?$"


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> Any:
    """An RE2 program, whose `search` takes bytes. Raises ValueError for what none is, or too large a one."""
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        program = re2.compile(pattern, options)
    except re2.error:
        raise ValueError(
            "is no regular expression of RE2, which has no back references and no look-around, or is much too large"
        ) from None
    if program.programsize > PATTERN_MAX_INSTRUCTIONS:
        raise ValueError(
            f"is a regular expression of {program.programsize} instructions; at most {PATTERN_MAX_INSTRUCTIONS}"
        )
    return program


def _check_pattern(pattern: str) -> str:
    compile_pattern(pattern)
    return pattern


Pattern = Annotated[str, Field(min_length=1, max_length=MAX_PATTERN), AfterValidator(_check_pattern)]


class Condition(WireModel):
    """What a message must look like; it must fit all that is given. Binary messages are taken as UTF-8."""

    pointer: str | None = Field(
        None, max_length=512, pattern=POINTER, description="JSON pointer (RFC 6901) to a value that is there, not null"
    )
    equals: Any = Field(None, description="what the value at pointer must be")
    contains: str | None = Field(None, min_length=1, max_length=1024, description="a text that it holds")
    regex: Pattern | None = Field(None, description="regular expression (RE2) that is found in its first 64 KiB")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.equals is not None and self.pointer is None:
            raise ValueError("equals needs a pointer")
        if self.pointer is None and self.contains is None and self.regex is None:
            raise ValueError("give at least one of pointer, contains and regex")
        return self
