"""The DeadLetters port in memory: the letters that a MemoryPublisher was given."""

from __future__ import annotations

from collections.abc import Sequence

import orjson

from runtime.adapters.memory.publisher import MemoryPublisher
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import DEAD_LETTER


class MemoryDeadLetters:
    """What was published as a dead letter and not taken out."""

    def __init__(self, publisher: MemoryPublisher) -> None:
        self._publisher = publisher
        self._removed: list[DeadLetter] = []

    async def read(self) -> list[DeadLetter]:
        gone, left = list(self._removed), []
        for event in self._publisher.events:
            if event.type != DEAD_LETTER:
                continue
            letter: DeadLetter = DeadLetter.read(orjson.loads(event.data))
            if letter in gone:
                gone.remove(letter)
            else:
                left.append(letter)
        return left

    async def remove(self, letters: Sequence[DeadLetter]) -> None:
        self._removed.extend(letters)
