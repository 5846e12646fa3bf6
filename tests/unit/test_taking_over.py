"""What a start takes over and what a stop leaves: no connection too many, no gap too short."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from runtime.errors import PublishError
from runtime.models.events import Event
from runtime.ports import Limits
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_claim_that_a_drain_overtakes_is_released_and_closed_before_the_drain_ends():
    async with World().running() as world:
        claiming, go = asyncio.Event(), asyncio.Event()

        async def before(operation: str, key: str) -> None:
            if operation == "put" and key == "websocket-a" and key in world.store.values and not go.is_set():
                claiming.set()
                await go.wait()

        world.store.before = before
        await world.command("connect", id="a", url=URL, topic="t", autoReconnect=True)
        await claiming.wait()
        draining = asyncio.create_task(world.drain())
        await world.settle()
        assert not draining.done()
        go.set()
        await draining
        assert not any(socket.is_open for socket in world.dialer.sockets)
        assert world.host.keepers == {}
        assert (await world.record()).instance_id is None


@virtual_time
async def test_claims_at_the_same_time_do_not_exceed_the_limit():
    world = World(Limits(max_connections=2))
    for number in range(8):
        await world.command("connect", id=f"c{number}", url=URL, autoReconnect=True)

    async def slow(operation: str, key: str) -> None:
        await asyncio.sleep(0.01)

    world.store.before = slow
    async with world.running():
        await world.sweep()
        await world.settle(2)
        assert len(world.dialer.sockets) == 2


async def die_with_a_frame_in_memory(world: World, **fields: Any) -> None:
    """One frame is read and not published when the process dies; what is left of it is the lease and the record."""

    async def away(events: Sequence[Event]) -> None:
        if any(event.type.endswith("frame") for event in events):
            raise PublishError("away")

    async with world.running():
        socket = await world.connect(**fields)
        await world.settle(1)
        world.publisher.before = away
        socket.push("lost")
        await world.settle(0.1)
        if fields.get("ends"):
            socket.lose(1000)
            await world.settle(0.1)
        await world.resident.lease.begin()
        await world.settle(0.1)
    for socket in world.dialer.sockets:
        socket.is_open = False
    world.publisher.before = None
    world.new_host()
    await world.manager.begin()


def covers_the_loss(world: World) -> bool:
    return any(gap["fromTime"] <= "2026-01-01T00:00:01.200000Z" < gap["toTime"] for gap in world.data("gap"))


@virtual_time
async def test_a_stop_before_all_is_claimed_shortens_no_gap():
    world = World()
    await die_with_a_frame_in_memory(world)
    running = asyncio.create_task(world.manager.run())
    await world.manager.stop(running)  # at once
    world.new_host()
    await world.manager.begin()
    async with world.running():
        await world.sweep()
        await world.settle()
        assert covers_the_loss(world)


@virtual_time
async def test_frames_lost_with_the_process_are_announced_though_a_disconnect_comes_before_the_next_socket():
    world = World()
    await die_with_a_frame_in_memory(world)
    world.resolver.hosts = {"feed.example": []}
    async with world.running():
        await world.sweep()
        await world.settle()
        await world.command("disconnect", id="a")
        await world.settle()
        assert covers_the_loss(world)


@virtual_time
async def test_frames_lost_with_the_process_are_announced_of_a_connection_that_had_just_ended():
    world = World()
    await die_with_a_frame_in_memory(world, autoReconnect=False, ends=True)
    assert (await world.record()).status.label == "Disconnected"
    async with world.running():
        await world.sweep()
        await world.settle()
        assert covers_the_loss(world)


@virtual_time
async def test_frames_lost_with_the_process_are_announced_of_a_connection_that_ends_with_it():
    world = World()
    await die_with_a_frame_in_memory(world, autoReconnect=False)
    async with world.running():
        await world.sweep()
        await world.settle()
        assert (await world.record()).status.label == "Disconnected"
        assert covers_the_loss(world)
