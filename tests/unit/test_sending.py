"""send and request: the outbox, from append to outcome."""

from __future__ import annotations

import asyncio
import json

from runtime.failure import SocketLost, classify_close, classify_status
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time


def ends(world: World, command_id: str) -> list[str]:
    return [data["status"] for data in world.data("outcome") if data["commandId"] == command_id]


@virtual_time
async def test_messages_are_sent_in_order_and_end_as_done():
    async with World().running() as world:
        socket = await world.connect()
        for number in range(5):
            await world.command("send", id="a", message=str(number), commandId=f"s{number}")
        await world.command("send", id="a", messages=["x", {"data": "AAE=", "binary": True}], commandId="many")
        await world.settle()
        assert socket.sent == ["0", "1", "2", "3", "4", "x", b"\x00\x01"]
        assert ends(world, "s0") == ["accepted", "done"]
        assert (await world.records.outbox("a")).items == ()


@virtual_time
async def test_a_repeated_send_is_sent_once_and_has_the_same_end():
    async with World().running() as world:
        socket = await world.connect()
        await world.command("send", id="a", message="x", commandId="s")
        await world.settle()
        assert (await world.command("send", id="a", message="x", commandId="s"))["status"] == "done"
        await world.settle()
        assert socket.sent == ["x"]


@virtual_time
async def test_a_message_waits_for_a_reconnecting_connection():
    async with World().running() as world:
        (await world.connect()).lose()
        await world.settle(0.01)
        await world.command("send", id="a", message="x", commandId="s")
        await world.settle(5)
        assert world.dialer.sockets[-1].sent == ["x"]
        assert ends(world, "s") == ["accepted", "done"]


@virtual_time
async def test_a_message_that_cannot_be_sent_in_time_is_rejected():
    async with World().running() as world:
        world.dialer.failures = [classify_status(503, 500)]
        await world.command("connect", id="a", url=URL, autoReconnect=True)
        await world.command("send", id="a", message="x", commandId="s", ttlS=5)
        await world.settle(6)
        assert ends(world, "s") == ["accepted", "rejected"]


@virtual_time
async def test_a_send_to_a_disconnected_connection_is_rejected():
    async with World().running() as world:
        await world.connect()
        await world.command("disconnect", id="a", keep=True)
        await world.settle()
        outcome = await world.command("send", id="a", message="x")
        assert outcome["status"] == "rejected"
        assert "reconnect it before sending" in outcome["reason"]


@virtual_time
async def test_the_101st_waiting_message_is_rejected_with_the_limit():
    world = World()
    await world.command("connect", id="a", url=URL)
    for _ in range(100):
        assert (await world.command("send", id="a", message="x"))["status"] == "accepted"
    outcome = await world.command("send", id="a", message="x")
    assert outcome["status"] == "rejected"
    assert "at most 100" in outcome["reason"]


@virtual_time
async def test_more_than_256_kib_waiting_are_rejected_with_the_limit():
    world = World()
    await world.command("connect", id="a", url=URL)
    await world.command("send", id="a", message="x" * 200_000)
    assert "at most 262144" in (await world.command("send", id="a", message="x" * 100_000))["reason"]


@virtual_time
async def test_a_request_ends_with_the_answer_that_repeats_its_value():
    async with World().running() as world:
        socket = await world.connect()
        await world.command(
            "request", id="a", message='{"id": 7}', match={"pointer": "/id"}, commandId="r", replyTopic="replies"
        )
        await world.settle()
        socket.push('{"id": 6}', "noise", '{"id": 7, "result": true}')
        await world.settle()
        outcome = await world.command("outcome", id="a", commandId="r")
        assert (outcome["status"], outcome["answer"]) == ("done", '{"id": 7, "result": true}')
        replies = [event for event in world.publisher.events if event.topic == "replies"]
        assert json.loads(replies[0].data)["answer"] == '{"id": 7, "result": true}'
        assert len(world.payloads()) == 3


@virtual_time
async def test_a_request_without_an_answer_ends_as_unknown_and_holds_nobody_up():
    async with World().running() as world:
        socket = await world.connect()
        await world.command("request", id="a", message="?", match={"contains": "!"}, commandId="r", timeoutS=3)
        await world.command("send", id="a", message="next")
        await world.settle(1)
        assert socket.sent == ["?", "next"]
        await world.settle(3)
        assert ends(world, "r") == ["accepted", "unknown"]


@virtual_time
async def test_what_was_attempted_under_an_earlier_epoch_is_sent_again_if_it_has_not_expired():
    world = World()
    async with world.running():
        socket = await world.connect()
        socket.on_send = lambda message: socket.lose()

        async def die(operation: str, key: str) -> None:
            if operation == "put" and key.startswith("websocket.outbox") and socket.sent:
                raise asyncio.CancelledError

        world.store.before = die
        await world.command("send", id="a", message="x", commandId="s")
        await world.settle(0.01)
    world.store.before = None
    world.new_host()
    async with world.running():
        await world.sweep()
        await world.settle(3)
        assert world.dialer.sockets[-1].sent == ["x"]
        assert ends(world, "s")[-1] == "done"


@virtual_time
async def test_disconnect_ends_what_still_waits():
    async with World().running() as world:
        await world.connect()
        await world.command("request", id="a", message="?", match={"contains": "!"}, commandId="r")
        await world.settle()
        await world.command("disconnect", id="a")
        await world.settle()
        assert ends(world, "r") == ["accepted", "unknown"]


@virtual_time
async def test_a_request_that_was_cut_off_on_its_way_is_asked_again_on_the_next_socket():
    async with World().running() as world:
        socket = await world.connect()
        await world.settle(20)

        async def cut(message) -> None:
            socket.lose()
            await world.settle(0.001)
            raise SocketLost(classify_close(None, ""))

        socket.send = cut
        await world.command("request", id="a", message="?", match={"contains": "!"}, commandId="r", timeoutS=50)
        await world.settle(5)
        world.dialer.sockets[-1].push("!")
        await world.settle()
        assert world.dialer.sockets[-1].sent == ["?"]
        assert ends(world, "r") == ["accepted", "done"]


@virtual_time
async def test_a_send_that_fails_late_on_the_old_socket_leaves_the_new_one_in_use():
    async with World().running() as world:
        socket = await world.connect()
        await world.settle(20)

        async def fail_late(message) -> None:
            socket.lose()
            await world.settle(30)
            raise SocketLost(classify_close(None, ""))

        socket.send = fail_late
        await world.command("send", id="a", message="x", commandId="s")
        await world.settle(31)
        assert world.dialer.sockets[-1].sent == ["x"]
        assert ends(world, "s") == ["accepted", "done"]


@virtual_time
async def test_a_request_that_no_message_could_answer_is_rejected():
    async with World().running() as world:
        await world.connect()
        outcome = await world.command("request", id="a", message='{"id": 7}', match={"pointer": "/key"})
        assert outcome["status"] == "rejected"
        assert "the message has no value at /key" in outcome["reason"]
