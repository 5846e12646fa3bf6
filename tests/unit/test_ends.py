"""Every command ends once, and its sender finds the end, whatever the store, the peer and the clock do."""

from __future__ import annotations

import asyncio

from runtime.errors import StoreError
from runtime.models.outbox import Outbox
from runtime.ports import Limits
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time


def ends(world: World, command_id: str) -> list[str]:
    return [data["status"] for data in world.data("outcome") if data["commandId"] == command_id]


def written_but_untold(world: World, key: str) -> None:
    """The next write of a key is done, and answered with an error."""
    put = world.store.put

    async def putting(written: str, value: bytes, etag: str | None) -> None:
        await put(written, value, etag)
        if written == key:
            world.store.put = put  # type: ignore[method-assign]
            raise StoreError("written, but nobody is told so")

    world.store.put = putting  # type: ignore[method-assign, assignment]


@virtual_time
async def test_an_end_that_was_written_though_the_store_said_no_is_announced():
    async with World(Limits(max_connections=0)).running() as world:
        await world.command("connect", id="a", url=URL, autoReconnect=True)
        await world.command("send", id="a", message="x", commandId="s")
        await world.settle()
        written_but_untold(world, "websocket.outbox.a")
        await world.command("disconnect", id="a")
        await world.settle(1)
        assert ends(world, "s") == ["accepted", "rejected"]


@virtual_time
async def test_a_message_that_was_sent_while_its_connection_ended_has_one_end():
    async with World().running() as world:
        socket = await world.connect()
        send, courier = socket.send, world.host.keepers["a"].courier

        async def sending(message: str | bytes) -> None:
            await send(message)
            await courier.fail_all("the connection was disconnected")

        socket.send = sending
        await world.command("send", id="a", message="x", commandId="s")
        await world.settle()
        assert len(ends(world, "s")) == 2, ends(world, "s")  # accepted, and one end
        assert (await world.records.outbox("a")).outcomes["s"].status == ends(world, "s")[1]


@virtual_time
async def test_a_message_expires_though_the_host_is_too_full_to_own_its_connection():
    async with World(Limits(max_connections=0)).running() as world:
        await world.command("connect", id="a", url=URL, autoReconnect=True)
        await world.command("send", id="a", message="x", commandId="s", ttlS=5)
        await world.settle(6)
        await world.sweep()
        await world.settle()
        assert ends(world, "s") == ["accepted", "rejected"]


@virtual_time
async def test_what_a_failing_store_left_in_the_outbox_of_an_ended_connection_is_found_by_the_sweep():
    async with World().running() as world:
        await world.connect()
        await world.command("disconnect", id="a", keep=True)
        await world.settle()
        await world.sweep()
        await world.settle()  # its outbox was looked at, and held nothing
        item = {"commandId": "s", "command": "send", "messages": [{"data": "x"}], "expiresAt": "2026-01-01T00:01:00Z"}
        await world.records.update_outbox("a", lambda _: Outbox.read({"items": [item]}))

        async def broken(operation: str, key: str) -> None:
            raise StoreError("away")

        world.store.before = broken
        world.host.nudge("a")
        await world.settle(1)
        world.store.before = None
        await world.sweep()
        await world.settle()
        assert ends(world, "s") == ["rejected"]


@virtual_time
async def test_a_peer_that_takes_nothing_holds_up_no_end_for_longer_than_the_time_to_live():
    async with World().running() as world:
        socket = await world.connect()

        async def stuck(message: str | bytes) -> None:
            await asyncio.Event().wait()

        socket.send = stuck
        await world.command("send", id="a", message="x", commandId="s", ttlS=5)
        await world.command("send", id="a", message="y", commandId="t", ttlS=5)
        await world.settle(12)
        assert ends(world, "s") == ["accepted", "unknown"]
        assert len(ends(world, "t")) == 2


@virtual_time
async def test_a_request_that_waits_beyond_its_time_to_live_does_not_hammer_the_store():
    async with World().running() as world:
        await world.connect()
        await world.command("request", id="a", message="x", ttlS=2, timeoutS=2, match={"contains": "?"})
        await world.settle()
        gets = 0

        async def count(operation: str, key: str) -> None:
            nonlocal gets
            gets += "outbox" in key

        world.store.before = count
        world.clock.shift_s = 3600
        world.host.keepers["a"].courier.wake()
        await world.settle(1.5)
        assert gets <= 2


@virtual_time
async def test_a_repeated_send_to_a_disconnected_connection_hears_the_same_after_a_reconnect():
    async with World().running() as world:
        await world.connect()
        await world.command("disconnect", id="a", keep=True)
        await world.settle()
        assert (await world.command("send", id="a", message="x", commandId="s"))["status"] == "rejected"
        await world.command("reconnect", id="a")
        await world.settle()
        assert (await world.command("send", id="a", message="x", commandId="s"))["status"] == "rejected"
        assert world.dialer.sockets[-1].sent == []


@virtual_time
async def test_the_sender_of_an_unknown_command_finds_its_rejection():
    outcome = await World().dispatch.deliver(b'{"command":"explode","commandId":"mine","id":"a"}')
    assert (outcome.command_id, outcome.connection_id, outcome.status) == ("mine", "a", "rejected")


@virtual_time
async def test_a_clock_that_goes_back_locks_no_connection():
    world = World()
    world.clock.shift_s = 3600
    await world.command("connect", id="a", url=URL, topic="t")
    world.clock.shift_s = 0
    assert (await world.command("startPublish", id="a", topic="u"))["status"] == "accepted"
    assert (await world.command("reconnect", id="a"))["status"] == "accepted"
    assert (await world.record()).topic == "u"


@virtual_time
async def test_no_gap_ends_before_it_begins_though_the_clock_goes_back():
    async with World().running() as world:
        socket = await world.connect()
        socket.lose()
        await world.settle(0.01)
        world.clock.shift_s = -3600
        await world.settle(3)
        (gap,) = world.data("gap")
        assert gap["fromTime"] <= gap["toTime"]


@virtual_time
async def test_a_connect_that_names_no_topic_and_tags_keeps_those_that_are_set():
    async with World().running() as world:
        await world.connect(tags={"k": "v"})
        await world.command("disconnect", id="a", keep=True)
        await world.settle()
        await world.command("connect", id="a", url=URL, autoReconnect=True)
        record = await world.record()
        assert (record.topic, record.tags, record.is_wanted) == ("t", {"k": "v"}, True)
