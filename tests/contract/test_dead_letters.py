"""One suite for the DeadLetters port, run on every implementation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.adapters.memory.dead_letters import MemoryDeadLetters
from runtime.adapters.memory.publisher import MemoryPublisher
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import Event
from runtime.models.wire import WireTime
from runtime.ports import DeadLetters

NOW = "2026-01-31T12:00:00.000000Z"


def letter(id_: str, reason: str = "because") -> DeadLetter:
    event = Event(id_, "t", "type", "a", NOW, b"\xff\x00", "image/png", "/shop")
    return DeadLetter.of(event, reason, WireTime.parse(NOW))


Bury = Callable[[DeadLetter], Awaitable[None]]


@pytest.fixture(params=["memory", "file"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[DeadLetters, Bury]:
    if request.param == "file":
        file = DeadLetterFile(tmp_path / "dead-letters.jsonl")
        return file, lambda dead: file.add(dead.carried_to("dead").data)
    publisher = MemoryPublisher()
    return MemoryDeadLetters(publisher), lambda dead: publisher.publish_many([dead.event, dead.carried_to("dead")])


async def test_what_was_buried_is_read_whole_the_oldest_first(port: tuple[DeadLetters, Bury]):
    letters, bury = port
    assert await letters.read() == []
    for id_ in "bac":
        await bury(letter(id_))
    assert await letters.read() == [letter("b"), letter("a"), letter("c")]


async def test_of_letters_that_are_the_same_as_many_are_taken_out_as_are_named(port: tuple[DeadLetters, Bury]):
    letters, bury = port
    for reason in ("first", "same", "same", "same"):
        await bury(letter("a", reason))
    await letters.remove([letter("a", "same"), letter("a", "same"), letter("nobody")])
    assert [found.reason for found in await letters.read()] == ["first", "same"]
    await letters.remove([])
    assert len(await letters.read()) == 2
