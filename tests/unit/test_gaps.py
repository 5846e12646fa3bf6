"""Every hole in the stream of a connection is announced, and no narrower than it is."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

import pytest

from tests.unit.world import World
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_lost_socket_is_dialled_again_in_the_same_epoch_with_a_blind_gap():
    async with World().running() as world:
        socket = await world.connect()
        socket.push("1")
        await world.settle(20)
        socket.lose()
        await world.settle(2)
        world.dialer.sockets[-1].push("2")
        await world.settle()
        assert world.dialer.dials == 2
        assert [(f["payload"], f["sequence"]) for f in world.data("frame")] == [("1", 1), ("2", 2)]
        (gap,) = world.data("gap")
        assert gap["kind"] == "blind"
        assert gap["fromTime"] < gap["toTime"]
        assert len({data["epoch"] for data in world.data("frame")}) == 1


@virtual_time
async def test_a_restart_claims_under_a_higher_epoch_and_announces_the_hole():
    world = World()
    async with world.running():
        socket = await world.connect()
        socket.push("1")
        await world.settle()
        epoch = (await world.record()).epoch
    world.new_host()
    async with world.running():
        await world.sweep()
        await world.settle()
        assert (await world.record()).epoch == epoch + 1
        (gap,) = world.data("gap")
        assert gap["kind"] == "blind"


@virtual_time
async def test_frames_that_a_drain_could_not_publish_lie_in_the_gap_of_the_next_start():
    world = World()

    async def never(events) -> None:
        await asyncio.Event().wait()

    async with world.running():
        socket = await world.connect()
        world.publisher.before = never
        socket.push("lost")
        await world.settle(5)
        lost_at = world.clock.now() - timedelta(seconds=5)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await world.drain()
        assert (await world.record()).instance_id == "me", "another host would publish before this one"
        read_until = world.host.read_until()
    world.publisher.before = None
    world.new_host()
    world.host.inheritance.read_until = read_until
    async with world.running():
        await world.sweep()
        await world.settle()
        (gap,) = world.data("gap")
        assert datetime.fromisoformat(gap["fromTime"]) <= lost_at


@virtual_time
async def test_a_gap_that_could_not_be_announced_is_still_open_for_the_next_owner():
    world = World()
    async with world.running():
        socket = await world.connect(options={"queueMaxMessages": 1, "overflow": "drop_oldest"})
        await world.settle(5)

        async def never(events) -> None:
            await asyncio.Event().wait()

        world.publisher.before = never
        before = world.clock.now()
        for number in range(5):
            socket.push(str(number))
            await world.settle(1)
        assert before <= world.host.read_until() < before + timedelta(seconds=1)
        socket.lose()
        await world.settle(5)
        assert world.host.read_until() < before + timedelta(seconds=1)


@virtual_time
async def test_what_a_full_queue_kept_from_being_read_lies_in_the_gap_of_a_reconnect():
    async with World().running() as world:
        socket = await world.connect(options={"queueMaxMessages": 1})
        hold = asyncio.Event()

        async def held(events) -> None:
            if events[0].type.endswith("frame"):
                await hold.wait()

        world.publisher.before = held
        socket.push("read", "never read")
        paused_at = world.clock.now()
        await world.settle(30)
        await world.command("reconnect", id="a")
        await world.settle()
        hold.set()
        await world.settle()
        (gap,) = world.data("gap")
        assert datetime.fromisoformat(gap["fromTime"]) <= paused_at + timedelta(seconds=0.1)


@virtual_time
async def test_a_process_that_dies_before_it_has_claimed_anything_shortens_no_gap():
    world = World()
    await world.manager.begin()
    async with world.running():
        await world.connect()
        await world.resident.lease.beat()
    killed_at = world.clock.now()
    for _ in range(3):
        await world.settle(10)
        world.new_host()
        await world.manager.begin()  # and SIGKILL
    world.new_host()
    await world.manager.begin()
    async with world.running():
        await world.sweep()
        await world.settle()
        (gap,) = world.data("gap")
        assert datetime.fromisoformat(gap["fromTime"]) <= killed_at
        await world.resident.lease.beat()
        assert world.resident.lease.instance.read_until > killed_at
