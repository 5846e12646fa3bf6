"""Events about connections while nobody takes them."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime

from runtime.host.announcer import Announcer
from runtime.host.parcel import Parcel
from runtime.host.publisher import Lanes
from runtime.models.connection import WebSocketConnection
from runtime.models.status import ConnectionStatus
from runtime.ports import Limits, Names
from tests.unit.world import Quiet, World
from tests.virtual_time import FakeClock, virtual_time


def an_announcer(world: World, events_max: int) -> tuple[Announcer, Lanes]:
    lane = Lanes(world.publisher, FakeClock(), lambda: 0.5, Quiet(), lambda *_: None)
    return Announcer(lane, FakeClock(), Names(), Limits(events_max=events_max), Quiet()), lane


@virtual_time
async def test_when_too_many_wait_the_oldest_go_and_their_number_is_told():
    world = World()
    announcer, lane = an_announcer(world, 10)
    record = WebSocketConnection.create("a", datetime(2026, 1, 31, tzinfo=UTC))
    for number in range(35):
        announcer.status(record, ConnectionStatus.CONNECTED, reason=str(number))
    running = asyncio.create_task(lane.run())
    await world.settle()
    running.cancel()
    events = [json.loads(event.data) for event in world.publisher.events]
    reasons = [event["reason"] for event in events]
    assert reasons[-2:] == ["34", "25 events were lost: the queue was full"]
    assert reasons[:-1] == [str(number) for number in range(25, 35)]
    assert len({event.id for event in world.publisher.events}) == len(events)


@virtual_time
async def test_more_waiting_events_than_one_call_takes_are_all_published():
    world = World()
    announcer, lane = an_announcer(world, 1000)
    record = WebSocketConnection.create("a", datetime(2026, 1, 31, tzinfo=UTC))
    for number in range(1001):
        announcer.status(record, ConnectionStatus.CONNECTED, reason=str(number))
    running = asyncio.create_task(lane.run())
    await world.settle()
    assert not running.done()
    running.cancel()
    assert len(world.publisher.events) == 1001
    assert json.loads(world.publisher.events[-1].data)["reason"] == "1 events were lost: the queue was full"


@virtual_time
async def test_a_dead_letter_that_is_too_large_itself_goes_out_without_its_data_and_then_no_more():
    async with World().running() as world:
        await world.dispatch.deliver(b"{nonsense")

        def letters() -> list[Parcel]:
            waiting = [Parcel(entry.event(), [entry]) for entry in world.announcer.queue]
            return [parcel for parcel in waiting if parcel.event.topic == "websocket-dead-letters"]

        (whole,) = letters()
        world.announcer.refused(world.announcer.queue, whole, "too large")
        without = json.loads(letters()[-1].event.data)
        assert (without["dataBase64"], without["leftOutBytes"]) == ("", len(b"{nonsense"))
        assert "9 bytes are too many for the dead letters" in without["reason"]
        world.announcer.refused(world.announcer.queue, letters()[-1], "too large")
        assert len(letters()) == 2
