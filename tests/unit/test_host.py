"""What a host does with a connection, in virtual time."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

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
        await world.host.sweep()
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
        await world.host.sweep()
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
async def test_a_restart_claims_under_a_higher_epoch_and_announces_the_hole():
    world = World()
    async with world.running():
        socket = await world.connect()
        socket.push("1")
        await world.settle()
        epoch = (await world.record()).epoch
    world.new_host()
    async with world.running():
        await world.host.sweep()
        await world.settle()
        assert (await world.record()).epoch == epoch + 1
        (gap,) = world.data("gap")
        assert gap["kind"] == "blind"


@virtual_time
async def test_without_auto_reconnect_a_restart_ends_the_connection_and_says_why():
    world = World()
    async with world.running():
        await world.connect(autoReconnect=False)
    world.new_host()
    async with world.running():
        await world.host.sweep()
        await world.settle()
        record = await world.record()
        assert (record.status, world.dialer.dials) == (ConnectionStatus.DISCONNECTED, 1)
        assert "host was lost" in (record.last_error or "")


@virtual_time
async def test_a_drain_publishes_what_was_read_and_closes_with_1001():
    async with World().running() as world:
        socket = await world.connect()
        socket.push("1", "2")
        await world.settle(0.001)
        await world.host.drain()
        assert socket.closed == (1001, "the manager is stopping")
        assert world.payloads() == ["1", "2"]
        record = await world.record()
        assert (record.status, record.instance_id) == (ConnectionStatus.RECONNECTING, None)


@virtual_time
async def test_a_host_that_has_lost_the_record_to_another_closes_and_writes_nothing():
    async with World().running() as world:
        socket = await world.connect()
        await world.records.update("a", lambda r: r.changed(instance_id="other", epoch=r.epoch + 1))
        stored = world.store.values["websocket-a"].value
        await world.host.sweep()
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
        assert (await world.host.sweep())["quarantined"] == 1
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
        await world.host.sweep()
        socket.push("1")
        await world.settle()
        (frame,) = [event for event in world.publisher.events if event.type.endswith("frame")]
        assert (frame.topic, world.dialer.dials) == ("new", 1)


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
        await world.host.sweep()
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
        await world.host.sweep()
        await world.settle()
        assert world.dialer.sockets[-1].is_open


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
                await world.host.drain()
        assert (await world.record()).instance_id is None
        read_until = world.host.read_until()
    world.publisher.before = None
    world.new_host()
    world.host.predecessors_read_until = read_until
    async with world.running():
        await world.host.sweep()
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
        await world.host.sweep()
        await world.settle()
        (gap,) = world.data("gap")
        assert datetime.fromisoformat(gap["fromTime"]) <= killed_at
        await world.resident.lease.beat()
        assert world.resident.lease.instance.read_until > killed_at
