"""A dead letter that nobody carries whole: it tells what was lost, and is not taken for what it was."""

from __future__ import annotations

from dataclasses import replace

from runtime.errors import EventRefusedError
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import Event
from tests.unit.world import World
from tests.virtual_time import virtual_time

COMMAND = b'{"command":"fly","commandId":"c1","id":"a","fuel":"' + b"x" * 1000 + b'"}'


@virtual_time
async def test_a_rejected_command_that_is_too_large_for_the_dead_letters_is_not_asked_for_again():
    world, announced = World(), list[Event]()

    async def announce(event: Event) -> None:
        if len(event.data) > 1000:
            raise EventRefusedError("too large", index=0)
        announced.append(event)

    outcome = await replace(world.dispatch, announce=announce).deliver(COMMAND)
    assert outcome.status == "rejected"
    told, carrier = announced
    assert told.id == "outcome.c1.rejected"
    letter = DeadLetter.carried_by(carrier)
    assert (letter.id, letter.subject, letter.data_base64) == ("c1", "a", "")
    assert letter.view()["sizeBytes"] == len(COMMAND)
    assert letter.reason == f"{outcome.reason}; and its {len(COMMAND)} bytes are too many for the dead letters"


@virtual_time
async def test_a_letter_without_its_data_is_not_replayed_and_stays():
    world = World()
    whole = DeadLetter.of(Event("1", "prices", "frame", "a", "", b"12"), "why", world.clock.now())
    for letter in (whole.without_data(), whole.model_copy(update={"id": "2"})):
        await world.publisher.publish_many([letter.carried_to("websocket-dead-letters")])
    answer = await world.command("replayDeadLetters")
    assert answer["replayed"] == ["2"]
    assert answer["refused"] == [{"id": "1", "reason": "its data were too many to keep"}]
    assert [letter.id for letter in await world.dead_letters.read()] == ["1"]
