"""What is wrong, and where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """`file` is relative to the folder that was checked; `line` counts from 1."""

    file: Path
    line: int
    what: str

    @override
    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


class MissingPartError(Exception):
    """A program that a check needs is not there; the text says how to get it."""
