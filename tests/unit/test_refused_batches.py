"""A batch that is refused for itself: halved in order, until only what is refused is a dead letter with a gap."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from runtime.errors import EventRefusedError
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import FRAME, FRAMES, Event
from tests.unit.faulty_publisher import FaultyPublisher
from tests.unit.stream import Stage, envelopes_of, ids, published, texts
from tests.unit.world import World
from tests.virtual_time import virtual_time

LIMIT_BYTES = 3000


def too_large(event: Event) -> str | None:
    return "too large" if len(event.data) > LIMIT_BYTES else None


@pytest.mark.parametrize("keeps_order", [True, False])
@virtual_time
async def test_a_refused_batch_is_halved_and_its_halves_go_one_after_the_other(keeps_order):
    stage = Stage(FaultyPublisher(keeps_order=keeps_order, refuses=too_large))
    events = await published(stage, *texts(1, 100), raw_payload=True)
    assert stage.refused == {}
    assert all(event.is_raw for event in events)
    assert stage.numbers() == [("a", 1, sequence) for sequence in range(1, 101)]
    assert {len(call) for call in stage.publisher.calls} == {1}
    assert [event.id for call in stage.publisher.calls[:3] for event in call] == ["a.1.1-100", "a.1.1-50", "a.1.1-25"]


@virtual_time
async def test_a_call_never_carries_what_stands_behind_a_batch_that_may_be_refused():
    """A broker that keeps order takes what is behind, and the halves would come after it."""
    stage = Stage(FaultyPublisher(keeps_order=True, refuses=too_large))
    await published(stage, *texts(1, 100), batch_max_messages=20)
    assert stage.numbers() == [("a", 1, sequence) for sequence in range(1, 101)]


@virtual_time
async def test_what_stands_before_a_refused_event_is_not_sent_again():
    stage = Stage(FaultyPublisher(keeps_order=True, refuses=lambda event: "bad" if b"bad" in event.data else None))
    await published(stage, "1", "2", "bad", "4", delivery="message")
    assert [[event.id for event in call] for call in stage.publisher.calls] == [
        ["a.1.1", "a.1.2", "a.1.3", "a.1.4"],
        ["a.1.4"],
    ]


@virtual_time
async def test_later_batches_stay_below_the_size_that_was_refused():
    stage = Stage(FaultyPublisher([], refuses=too_large))
    stream = stage.stream(delivery="batch")
    async with stage.running():
        stream.receive(*texts(1, 100))
        await asyncio.sleep(10)
        calls = len(stage.publisher.calls)
        stream.receive(*texts(101, 400))
        await asyncio.sleep(10)
    later = [event for call in stage.publisher.calls[calls:] for event in call]
    assert [event for event in later if too_large(event)] == []
    assert min(event.frames for event in later[:-1]) > 2
    assert len(stage.numbers()) == 400


@virtual_time
async def test_new_options_forget_the_size_that_was_refused():
    stage = Stage(FaultyPublisher([], refuses=too_large))
    stream = stage.stream(delivery="batch")
    async with stage.running():
        stream.receive(*texts(1, 50))
        await asyncio.sleep(10)
        stage.publisher.refuses = lambda event: None
        stream.use(stream.options)
        stream.receive(*texts(51, 150))
        await asyncio.sleep(10)
    assert ids(stage)[-1] == "a.1.51-150"


@virtual_time
async def test_of_a_refused_batch_only_the_frame_that_is_refused_is_a_dead_letter_with_a_gap():
    async with World().running() as world:
        socket = await world.connect(options={"delivery": "batch"})

        async def refuse(events: Sequence[Event]) -> None:
            for index, event in enumerate(events):
                if event.type in {FRAME, FRAMES} and b"bad" in event.data:
                    world.publisher.events.extend(events[:index])
                    raise EventRefusedError("it is bad", index=index)

        async def be_slow(events: Sequence[Event]) -> None:
            world.publisher.before = refuse
            await asyncio.sleep(1)

        world.publisher.before = be_slow
        socket.push("1")
        await world.settle()
        socket.push("2", "3", "4", "5", "bad", "7")  # gather in one batch
        await world.settle(5)
        batches = [event for event in world.publisher.events if event.type == FRAMES]
        payloads = [envelope["payload"] for event in batches for envelope in envelopes_of(event)]
        assert payloads == ["1", "2", "3", "4", "5", "7"]
        assert len(batches) < 6
        (gap,) = world.data("gap")
        assert (gap["fromSequence"], gap["toSequence"], gap["reason"]) == (6, 6, "it is bad")
        (letter,) = world.data("dead-letter")
        assert letter["reason"] == "it is bad"
        assert letter["id"] == DeadLetter.read(letter).id == f"a.{gap['epoch']}.6-6"
