"""A connection's life, in virtual time: dialling, reading, losing, giving up."""

from __future__ import annotations

import pytest

from runtime.failure import Failure, FailureKind, classify_status
from runtime.models.status import ConnectionStatus
from runtime.ports import Dial, Limits
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time


@virtual_time
async def test_frames_are_published_in_order_with_sequences_from_one():
    async with World().running() as world:
        socket = await world.connect()
        socket.push(*(str(n) for n in range(1200)))
        await world.settle()
        assert world.payloads() == [str(n) for n in range(1200)]
        assert [data["sequence"] for data in world.data("frame")] == list(range(1, 1201))
        assert world.statuses() == ["Connecting", "Connected"]
        assert (await world.record()).status is ConnectionStatus.CONNECTED


@virtual_time
async def test_a_peer_that_accepts_and_hangs_up_is_not_hammered():
    async with World().running() as world:
        world.dialer.on_dial = lambda socket: socket.lose(1000)
        await world.connect(options={"reconnectAttempts": 0})
        await world.settle(600)
        assert world.dialer.dials < 60


@virtual_time
async def test_attempts_run_out_and_only_a_command_revives():
    async with World().running() as world:
        world.dialer.failures = [Failure(FailureKind.TRANSIENT, "refused")] * 6
        await world.command("connect", id="a", url=URL, topic="t", autoReconnect=True)
        await world.settle(300)
        record = await world.record()
        assert world.dialer.dials == 6
        assert record.status is ConnectionStatus.DISCONNECTED
        assert record.last_error == "gave up after 5 reconnect attempts: refused"
        await world.sweep()
        await world.settle(300)
        assert world.dialer.dials == 6
        await world.command("reconnect", id="a")
        await world.settle()
        assert world.dialer.dials == 7
        assert (await world.record()).status is ConnectionStatus.CONNECTED


@virtual_time
async def test_without_auto_reconnect_the_first_loss_is_the_end():
    async with World().running() as world:
        socket = await world.connect(autoReconnect=False)
        socket.lose(1001)
        await world.settle(60)
        assert world.dialer.dials == 1
        assert world.statuses()[-1] == "Disconnected"
        assert "1001" in ((await world.record()).last_error or "")


@pytest.mark.parametrize(("status", "dials"), [(401, 3), (403, 3), (404, 3), (302, 3)])
def test_a_refusal_is_tried_three_times_however_many_attempts_are_allowed(status, dials):
    @virtual_time
    async def run():
        async with World().running() as world:
            world.dialer.failures = [classify_status(status)] * 10
            await world.command("connect", id="a", url=URL, autoReconnect=True, options={"reconnectAttempts": 0})
            await world.settle(600)
            assert world.dialer.dials == dials
            assert str(status) in ((await world.record()).last_error or "")

    run()


@virtual_time
async def test_a_throttled_dial_waits_as_long_as_it_was_told_and_is_never_fatal():
    async with World().running() as world:
        world.dialer.failures = [classify_status(429, 100)] * 8
        await world.command("connect", id="a", url=URL, autoReconnect=True)
        await world.settle(99)
        assert world.dialer.dials == 1
        await world.settle(2000)
        assert (await world.record()).status is ConnectionStatus.CONNECTED


@virtual_time
async def test_a_peer_that_stops_answering_pings_is_dialled_again():
    async with World().running() as world:
        socket = await world.connect()
        socket.answers_pings = False
        await world.settle(45)
        assert world.dialer.dials == 2
        assert any("no pong" in (data["reason"] or "") for data in world.data("status"))


@virtual_time
async def test_a_feed_that_never_says_anything_is_stale_when_asked_for():
    async with World().running() as world:
        await world.connect(options={"idleTimeoutS": 30})
        await world.settle(33)
        assert world.dialer.dials == 2


@virtual_time
async def test_disconnect_closes_with_1000_and_leaves_a_tombstone_that_is_purged():
    async with World(Limits(tombstone_ttl_s=60)).running() as world:
        socket = await world.connect()
        await world.command("disconnect", id="a")
        await world.settle()
        assert socket.closed == (1000, "")
        record = await world.record()
        assert record.is_removed
        assert record.url == ""
        assert record.status is ConnectionStatus.DISCONNECTED
        await world.settle(61)
        await world.sweep()
        await world.settle()
        assert await world.records.get("a") is None
        assert await world.records.ids() == []


@virtual_time
async def test_a_topic_holds_from_the_next_frame_and_frames_without_topic_use_no_sequence():
    async with World().running() as world:
        socket = await world.connect()
        socket.push("1")
        await world.settle()
        await world.command("stopPublish", id="a")
        await world.settle()
        socket.push("2")
        await world.settle()
        await world.command("startPublish", id="a", topic="other")
        await world.settle()
        socket.push("3")
        await world.settle()
        frames = [event for event in world.publisher.events if event.type.endswith("frame")]
        assert [(event.topic, event.id.rpartition(".")[2]) for event in frames] == [("t", "1"), ("other", "2")]


@virtual_time
async def test_reconnect_closes_and_dials_a_new_generation():
    async with World().running() as world:
        socket = await world.connect()
        await world.command("reconnect", id="a")
        await world.settle()
        assert socket.closed == (1000, "")
        assert world.dialer.dials == 2
        assert world.statuses() == ["Connecting", "Connected", "Reconnecting", "Connected"]


@virtual_time
async def test_sends_to_a_reconnecting_connection_do_not_hammer_its_peer():
    async with World().running() as world:
        socket = await world.connect(options={"reconnectBaseDelayS": 20, "reconnectMaxDelayS": 20})
        socket.lose()
        await world.settle()
        for number in range(50):
            await world.command("send", id="a", message=str(number))
            await world.settle(0.1)
        assert world.dialer.dials == 1
        await world.settle(20)
        assert world.dialer.sockets[-1].sent == [str(number) for number in range(50)]


@virtual_time
async def test_a_reconnect_at_the_moment_of_giving_up_is_heard():
    async with World().running() as world:
        world.dialer.failures = [Failure(FailureKind.FORBIDDEN, "never")]

        async def just_then(dial: Dial) -> None:
            world.dialer.before = None
            await world.command("reconnect", id="a")
            await world.settle(0)

        world.dialer.before = just_then
        await world.command("connect", id="a", url=URL, autoReconnect=True)
        await world.settle(5)
        assert (await world.record()).status is ConnectionStatus.CONNECTED
