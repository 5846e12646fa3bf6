"""What the sidecar's calls lead to, before the manager is there and then."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager

import pytest

from runtime.adapters.dapr.dead_letters import KeptDeadLetters
from runtime.adapters.dapr.deliveries import Delivery
from runtime.dapr import Inbound
from runtime.errors import TransientError
from runtime.models.events import Event
from runtime.ports import Limits
from runtime.settings import Settings
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time

COMMANDS, LETTERS, NUDGES, OWN = "websocket-commands", "websocket-dead-letters", "websocket-host", "websocket-host-me"
CONNECT = json.dumps({"command": "connect", "id": "a", "url": URL}).encode()


def an_inbound(mode: str, world: World | None = None) -> Inbound:
    """With a manager behind it if there is a world."""
    inbound = Inbound(Settings(profile="dapr", mode=mode), None if mode == "handlers" else "me")
    if world is not None:
        inbound.manager = world.manager
        inbound.letters = KeptDeadLetters(world.store, world.records, world.clock, world.observer)
    return inbound


def a_delivery(topic: str, data: bytes, *, time: str = "", event_id: str = "e1") -> Delivery:
    return Delivery(Event(event_id, topic, "test", "", time, data, source="/shop"), topic)


@asynccontextmanager
async def running(part):
    task = asyncio.create_task(part())
    yield
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize(
    ("mode", "topics", "bindings"),
    [
        ("handlers", {COMMANDS, LETTERS}, {"websocket-commands"}),
        ("host", {NUDGES, OWN}, {"health-sweep"}),
        ("all", {COMMANDS, LETTERS, NUDGES, OWN}, {"websocket-commands", "health-sweep"}),
    ],
)
def test_each_mode_asks_for_its_own_topics_and_bindings(mode: str, topics: set[str], bindings: set[str]):
    triggers = an_inbound(mode).triggers()
    assert set(triggers.topics) == topics
    assert set(triggers.bindings) == bindings
    if COMMANDS in topics:
        assert triggers.topics[COMMANDS].dead_letter_topic == LETTERS


async def test_before_the_manager_is_there_everything_is_to_come_again():
    triggers = an_inbound("all").triggers()
    assert triggers.invoke is not None
    calls = [subscription.receive(a_delivery(topic, b"{}")) for topic, subscription in triggers.topics.items()]
    calls += [receive(b"{}", {}) for receive in triggers.bindings.values()]
    for call in (*calls, triggers.invoke("connections", b"")):
        with pytest.raises(TransientError, match="starting; try again"):
            await call
    assert not triggers.is_healthy()


@virtual_time
async def test_a_command_of_a_topic_or_a_binding_is_answered_and_a_topic_gives_it_the_id_of_its_event():
    async with World().running() as world:
        triggers = an_inbound("all", world).triggers()
        assert triggers.is_healthy()
        assert triggers.invoke is not None
        await triggers.topics[COMMANDS].receive(a_delivery(COMMANDS, CONNECT))
        await triggers.bindings["websocket-commands"](CONNECT.replace(b'"a"', b'"b"'), {})
        await world.settle()
        assert {each["connectionId"]: each["status"] for each in world.data("outcome")} == dict.fromkeys(
            "ab", "accepted"
        )
        assert [each["commandId"] for each in world.data("outcome") if each["connectionId"] == "a"] == ["e1"]
        assert [each["id"] for each in json.loads(await triggers.invoke("connections", b""))] == ["a", "b"]


@virtual_time
async def test_a_command_whose_event_has_no_readable_time_is_rejected_and_not_asked_for_again():
    async with World().running() as world:
        receive = an_inbound("handlers", world).triggers().topics[COMMANDS].receive
        await receive(a_delivery(COMMANDS, CONNECT, time="soon"))
        await world.settle()
        (outcome,) = world.data("outcome")
        assert (outcome["status"], outcome["commandId"]) == ("rejected", "e1")
        assert "time: must be an ISO 8601 time" in outcome["reason"]
        assert [letter.id for letter in await world.dead_letters.read()] == ["e1"]


@virtual_time
async def test_a_nudge_and_a_tick_of_cron_make_the_host_look():
    async with World().running() as world:
        world.nudges.callbacks = {}  # all are lost
        triggers = an_inbound("host", world).triggers()
        for topic, id_ in ((NUDGES, "a"), (OWN, "b")):
            await world.command("connect", id=id_, url=URL)
            await triggers.topics[topic].receive(a_delivery(topic, id_.encode()))
            await world.settle()
            assert (await world.record(id_)).instance_id == "me"
        await world.manager.begin()
        async with running(world.resident.sweeper.run):
            await world.settle()  # the first tick is its own
            await world.command("connect", id="c", url=URL)
            await triggers.bindings["health-sweep"](b"", {})
            await world.settle()
            assert (await world.record("c")).instance_id == "me"


@virtual_time
async def test_only_a_nudge_that_any_host_may_get_may_be_passed_on():
    world = World(Limits(max_connections=0))
    triggers = an_inbound("host", world).triggers()
    await triggers.topics[NUDGES].receive(a_delivery(NUDGES, b"a"))
    await triggers.topics[OWN].receive(a_delivery(OWN, b"b"))
    await triggers.topics[NUDGES].receive(a_delivery(NUDGES, b"both"))
    await triggers.topics[OWN].receive(a_delivery(OWN, b"both"))
    await triggers.topics[NUDGES].receive(a_delivery(NUDGES, b"x||y"))
    await triggers.topics[OWN].receive(a_delivery(OWN, b""))
    found = {}
    for _ in range(len(world.host.agenda)):
        async with world.host.agenda.next() as (id_, is_for_any):
            found[id_] = is_for_any
    assert found == {"a": True, "b": False, "both": False}


@virtual_time
async def test_what_the_dead_letter_topic_brings_is_kept():
    world = World()
    inbound = an_inbound("handlers", world)
    await inbound.triggers().topics[LETTERS].receive(a_delivery(LETTERS, b"{}", event_id="given-up"))
    assert inbound.letters is not None
    assert [letter.id for letter in await inbound.letters.read()] == ["given-up"]
