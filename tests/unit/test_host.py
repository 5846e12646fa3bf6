"""What a host does with records: owning, sweeping, draining, letting go."""

from __future__ import annotations

import asyncio

from runtime.models.status import ConnectionStatus
from runtime.ports import Limits
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_host_that_has_lost_the_record_to_another_closes_and_writes_nothing():
    async with World().running() as world:
        socket = await world.connect()
        await world.records.update("a", lambda r: r.changed(instance_id="other", epoch=r.epoch + 1))
        stored = world.store.values["websocket-a"].value
        await world.sweep()
        await world.settle()
        assert not socket.is_open
        assert world.dialer.dials == 2  # this world's policy lets it claim again at once
        assert world.store.values["websocket-a"].value != stored


@virtual_time
async def test_a_garbage_record_is_quarantined_and_in_nobodys_way():
    async with World().running() as world:
        await world.records.add_to_index("bad")
        await world.store.put("websocket-bad", b"{nonsense", None)
        await world.connect("good")
        assert (await world.sweep())["quarantined"] == 1
        await world.settle()
        assert world.data("notice")[0]["connectionId"] == "bad"
        assert (await world.record("good")).status is ConnectionStatus.CONNECTED


@virtual_time
async def test_a_sweep_that_has_read_an_old_record_undoes_no_command():
    async with World().running() as world:
        socket = await world.connect()

        async def while_the_sweep_reads(operation: str, key: str) -> None:
            if operation == "get_many" and "websocket-a" in key:
                world.store.before = None
                old = dict(world.store.values)
                await world.command("startPublish", id="a", topic="new")
                await world.settle()
                fresh, world.store.values = world.store.values, old
                asyncio.get_running_loop().call_soon(setattr, world.store, "values", fresh)

        world.store.before = while_the_sweep_reads
        await world.sweep()
        socket.push("1")
        await world.settle()
        (frame,) = [event for event in world.publisher.events if event.type.endswith("frame")]
        assert (frame.topic, world.dialer.dials) == ("new", 1)


@virtual_time
async def test_a_full_host_says_so_once_and_takes_the_next_when_there_is_room():
    async with World(Limits(max_connections=1)).running() as world:
        await world.connect("a")
        for id_ in ("b", "c"):
            await world.command("connect", id=id_, url=URL, autoReconnect=True)
        await world.settle()
        assert world.dialer.dials == 1
        assert [data["reason"] for data in world.data("notice")] == [
            "me holds 1 connections (max_connections): others wait"
        ]
        await world.command("disconnect", id="a")
        await world.settle()
        await world.sweep()
        await world.settle()
        assert world.dialer.dials == 2


@virtual_time
async def test_a_keeper_whose_courier_fails_closes_its_socket_and_is_claimed_again():
    async with World().running() as world:
        socket = await world.connect()

        async def explode(operation: str, key: str) -> None:
            if "outbox" in key:
                raise ZeroDivisionError

        world.store.before = explode
        await world.command("startPublish", id="a", topic="t2")
        await world.settle()
        assert not socket.is_open
        assert [name for name, _ in world.observer.warnings] == ["keeper_failed"]
        world.store.before = None
        await world.sweep()
        await world.settle()
        assert world.dialer.sockets[-1].is_open


@virtual_time
async def test_a_drain_publishes_what_was_read_and_closes_with_1001():
    async with World().running() as world:
        socket = await world.connect()
        socket.push("1", "2")
        await world.settle(0.001)
        await world.drain()
        assert socket.closed == (1001, "the manager is stopping")
        assert world.payloads() == ["1", "2"]
        record = await world.record()
        assert (record.status, record.instance_id) == (ConnectionStatus.RECONNECTING, None)


@virtual_time
async def test_without_auto_reconnect_a_restart_ends_the_connection_and_says_why():
    world = World()
    async with world.running():
        await world.connect(autoReconnect=False)
    world.new_host()
    async with world.running():
        await world.sweep()
        await world.settle()
        record = await world.record()
        assert (record.status, world.dialer.dials) == (ConnectionStatus.DISCONNECTED, 1)
        assert "host was lost" in (record.last_error or "")


@virtual_time
async def test_a_read_shows_frames_without_topic_what_is_queued_and_what_waits_to_be_sent():
    async with World().running() as world:
        socket = await world.connect(topic=None)
        socket.push("1", "2")
        await world.settle()
        socket.lose()
        await world.settle()
        await world.command("send", id="a", message="later")
        await world.command("startPublish", id="a", topic="t")
        waiting = await world.command("connection", id="a")
        assert (waiting["framesWithoutTopic"], waiting["sequence"], waiting["waitingToBeSent"]) == (2, 0, 1)
        assert waiting["lastFrameAt"] is not None
        await world.settle(2)

        async def never(events) -> None:
            await asyncio.Event().wait()

        world.publisher.before = never
        world.dialer.sockets[-1].push("3", "4")
        await world.settle()
        blocked = await world.command("connection", id="a")
        assert (blocked["sequence"], blocked["queuedMessages"], blocked["waitingToBeSent"]) == (2, 2, 0)
        assert blocked["queuedBytes"] > 2
