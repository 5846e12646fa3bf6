"""`drain`: who may be told, what is answered, and that the host heeds it at its next look."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from runtime.models.wire import format_time
from runtime.ports import Limits
from tests.unit.world import World
from tests.virtual_time import virtual_time


def draining(world: World) -> list[str]:
    return json.loads(world.store.values["websocket.instances"].value)["draining"]


async def begun() -> World:
    world = World()
    await world.resident.begin()
    return world


async def state_of(world: World) -> Any:
    (host,) = await hosts(world)
    return host["state"]


async def hosts(world: World) -> Any:
    return await world.command("instances")


@virtual_time
async def test_a_host_that_is_known_is_told_and_told_again_without_harm():
    world = await begun()
    outcome = await world.command("drain", instance="me", commandId="d1")
    assert (outcome["status"], outcome["command"], outcome["connectionId"]) == ("accepted", "drain", None)
    assert outcome["reason"] == "'me' hands its connections over and claims no more"
    assert draining(world) == ["me"]
    assert "told so before" in (await world.command("drain", instance="me"))["reason"]
    assert draining(world) == ["me"]
    assert await state_of(world) == "draining"


@virtual_time
async def test_a_topic_carries_it_too_and_its_outcome_is_told_once():
    world = await begun()
    async with world.running():
        await world.dispatch.deliver(b'{"command": "drain", "instance": "me", "commandId": "d1"}')
        await world.settle()
        assert draining(world) == ["me"]
        (event,) = [event for event in world.publisher.events if event.type.endswith(".outcome")]
        assert (event.id, event.subject) == ("outcome.d1.accepted", "")


@virtual_time
async def test_a_host_that_is_not_known_is_refused_with_the_way_to_find_out():
    world = await begun()
    outcome = await world.command("drain", instance="other")
    assert (outcome["status"], outcome["reason"]) == (
        "rejected",
        "no instance 'other' is known; `wsm instances` lists them",
    )
    assert draining(world) == []
    empty = World()
    assert (await empty.command("drain", instance="me"))["status"] == "rejected"
    assert "websocket.instances" not in empty.store.values


@pytest.mark.parametrize("instance", ["", "a b", "a||b", "x" * 129, 1, None])
def test_what_can_be_no_instance_is_refused(instance: object):
    @virtual_time
    async def run() -> None:
        world = await begun()
        outcome = await world.command("drain", instance=instance)
        assert outcome["status"] == "rejected"
        assert "instance: " in outcome["reason"]

    run()


@virtual_time
async def test_a_host_that_has_ended_has_nothing_to_hand_over():
    world = await begun()
    await world.resident.lease.end()
    outcome = await world.command("drain", instance="me")
    assert (outcome["status"], outcome["reason"]) == ("accepted", "'me' has ended already, and holds nothing")
    assert draining(world) == []
    assert await state_of(world) == "ended"


@virtual_time
async def test_a_wish_that_was_meant_for_the_process_before_is_superseded():
    world = await begun()
    before = world.clock.start - timedelta(seconds=Limits().max_skew_s + 1)
    outcome = await world.command("drain", instance="me", issuedAt=format_time(before))
    assert (outcome["status"], outcome["reason"]) == (
        "superseded",
        "'me' was started again after this command was issued",
    )
    assert draining(world) == []
    within_skew = world.clock.start - timedelta(seconds=Limits().max_skew_s)
    outcome = await world.command("drain", instance="me", issuedAt=format_time(within_skew))
    assert outcome["status"] == "accepted", "two clocks are never the same"


@virtual_time
async def test_a_lease_that_cannot_be_read_does_not_keep_a_host_from_being_told():
    world = await begun()
    stored = world.store.values["websocket.instance.me"]
    await world.store.put("websocket.instance.me", b"[", stored.etag)
    assert (await world.command("drain", instance="me"))["status"] == "accepted"
    assert draining(world) == ["me"]
    assert await hosts(world) == [], "nor the others from being listed"


@virtual_time
async def test_the_host_heeds_it_within_a_second_and_says_so_in_its_lease():
    world = await begun()
    running = asyncio.create_task(world.manager.run())
    await world.settle()
    assert world.resident.why_not_ready() is None
    await world.command("drain", instance="me")
    await world.settle(1.2)
    assert world.resident.why_not_ready() == "the host is draining"
    assert json.loads(world.store.values["websocket.instance.me"].value)["isDraining"]
    await world.manager.stop(running)


@virtual_time
async def test_the_age_of_the_last_beat_informs_and_a_silent_host_is_called_so():
    world = await begun()
    await world.settle(3)
    (host,) = await hosts(world)
    assert (host["state"], host["beatAgeS"], host["load"], host["maxConnections"]) == ("running", 3.0, 0, 10_000)
    await world.settle(Limits().lease_s)
    assert await state_of(world) == "silent"
    world.clock.shift_s = -3600
    (host,) = await hosts(world)
    assert (host["state"], host["beatAgeS"]) == ("running", 0.0), "our clock is behind that of the host"
