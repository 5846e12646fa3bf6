"""Faults found by reading: each test says what should be, and fails as long as it is not so."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from runtime.errors import PublishError, StoreError
from runtime.failure import Failure, FailureKind
from runtime.models.events import Event
from runtime.models.status import ConnectionStatus
from tests.unit.cluster import Cluster
from tests.unit.moves import FAST, Feed, blind_gaps, move, moving
from tests.virtual_time import virtual_time

NOT_FROM_HERE = Failure(FailureKind.TRANSIENT, "not from here")


async def no_frames(events: Sequence[Event]) -> None:
    if any(event.type.endswith(".frame") for event in events):
        raise PublishError("away")


async def nothing_at_all(events: Sequence[Event]) -> None:
    raise PublishError("away")


@virtual_time
async def test_frames_that_a_dead_host_had_not_published_are_announced_of_a_connection_that_had_ended_before():
    cluster = Cluster(2, replace(FAST, rebalances=False))
    async with cluster.running():
        await cluster.settle(3)
        await cluster.connect("a", autoReconnect=False)
        await cluster.settle(3)
        (id_,) = cluster.holders_of("a")
        owner = cluster.members[id_]
        cluster.publisher.before = no_frames
        owner.socket_of("a").push("lost")
        read_at = cluster.clock.now()
        await cluster.settle(0.1)
        owner.socket_of("a").lose(1000)
        await cluster.settle(1)
        assert (await cluster.record("a")).status is ConnectionStatus.DISCONNECTED
        await owner.kill()
        cluster.publisher.before = None
        await cluster.settle(60)
        assert not cluster.data("frame")
        assert any(_covers(gap, read_at) for gap in blind_gaps(cluster)), "a frame was lost in silence"


def _covers(gap, moment: datetime) -> bool:
    return datetime.fromisoformat(gap["fromTime"]) <= moment <= datetime.fromisoformat(gap["toTime"])


@virtual_time
async def test_a_gap_that_was_not_published_at_a_stop_is_announced_by_the_next_owner():
    cluster = Cluster(2, replace(FAST, rebalances=False, drain_deadline_s=5))
    async with cluster.running():
        await cluster.settle(3)
        await cluster.connect("a")
        await cluster.settle(3)
        (id_,) = cluster.holders_of("a")
        owner = cluster.members[id_]
        other = next(member for member in cluster.members.values() if member is not owner)
        await other.kill()  # so that it is released, not handed over
        await cluster.settle(10)
        cluster.publisher.before = nothing_at_all
        owner.socket_of("a").lose()
        blind_at = cluster.clock.now()
        await cluster.settle(2)
        assert (await cluster.record("a")).status is ConnectionStatus.CONNECTED
        await cluster.settle(10)
        await owner.stop()
        cluster.publisher.before = None
        cluster.new("C").start()
        await cluster.settle(40)
        assert cluster.holders_of("a") == ["C"]
        assert any(_covers(gap, blind_at + timedelta(milliseconds=1)) for gap in blind_gaps(cluster)), blind_gaps(
            cluster
        )


@virtual_time
async def test_a_gap_that_was_not_published_at_a_handover_is_announced_by_the_next_owner():
    async with moving() as (cluster, feed, owner, other):

        async def no_events(events: Sequence[Event]) -> None:
            if not any(event.type.endswith(".frame") for event in events) and owner.running is not None:
                raise PublishError("away")

        cluster.publisher.before = no_events
        blind_at = cluster.clock.now()
        owner.socket_of("a").lose()
        await cluster.settle(3)
        (at,) = [owner.socket_of("a")]
        assert at.is_open
        await owner.stop()  # it is handed over, and its events never get out
        owner.running = None
        cluster.publisher.before = None
        await cluster.settle(30)
        assert cluster.holders_of("a") == [other.id]
        published = feed.published()
        assert set(range(published[0], published[-1])) - set(published), "nothing was lost: this test shows nothing"
        assert any(_covers(gap, blind_at + timedelta(milliseconds=1)) for gap in blind_gaps(cluster)), blind_gaps(
            cluster
        )


@virtual_time
async def test_a_handover_is_complete_only_if_the_new_owner_was_connected_before_the_old_one_stopped_reading():
    async with moving() as (cluster, feed, owner, other):

        async def slowly(_: object) -> None:
            await asyncio.sleep(5)

        other.dialer.before = slowly
        socket = owner.socket_of("a")
        close = socket.close

        async def close_slowly(code: int, reason: str, *, is_read: bool = False) -> None:
            await close(code, reason, is_read=is_read)  # the peer answers at once, and sends no more ...
            socket.is_open = False
            await asyncio.sleep(3)  # ... but does not cut the transport

        socket.close = close_slowly
        move(owner, other, stays=False)
        await cluster.settle(5.5)
        assert socket.closed is not None
        assert (await cluster.record("a")).status is ConnectionStatus.CONNECTED
        owner.host.nudge("a")  # as a sweep does
        await cluster.settle(20)
        published = feed.published()
        missing = set(range(published[0], published[-1])) - set(published)
        assert missing, "nothing was lost: this test shows nothing"
        assert blind_gaps(cluster), f"{len(missing)} frames were lost in silence"


@virtual_time
async def test_a_stop_waits_for_the_handovers_that_are_on_their_way_though_the_others_are_full_by_now():
    limits = replace(FAST, rebalances=False, max_connections=4, max_handshakes=2, drain_deadline_s=20)
    cluster = Cluster(2, limits)
    async with cluster.running():
        await cluster.settle(3)
        for number in range(6):
            await cluster.connect(f"c{number}")
            await cluster.settle(2)
        owner, other = cluster.members["A"], cluster.members["B"]
        assert (len(owner.held), len(other.held)) == (3, 3), cluster.loads()
        await owner.stop()
        await cluster.settle(3)
        # One place: it is given away, and `lightest` says at the next id that nobody has room.
        assert [event["isComplete"] for event in cluster.data("handover")] == [True], "closed before it could be taken"


@virtual_time
async def test_two_on_their_way_at_a_stop_are_both_moved_without_a_gap():
    limits = replace(FAST, rebalances=False, max_connections=5, max_handshakes=2, drain_deadline_s=20)
    cluster = Cluster(2, limits)
    async with cluster.running():
        await cluster.settle(3)
        for number in range(6):
            await cluster.connect(f"c{number}")
            await cluster.settle(2)
        owner, other = cluster.members["A"], cluster.members["B"]
        assert (len(owner.held), len(other.held)) == (3, 3), cluster.loads()
        dials = 0

        async def slower_and_slower(_: object) -> None:
            nonlocal dials
            dials += 1
            await asyncio.sleep(dials)

        other.dialer.before = slower_and_slower
        await owner.stop()
        await cluster.settle(3)
        assert sorted(event["isComplete"] for event in cluster.data("handover")) == [True, True]


@virtual_time
async def test_a_store_that_is_away_during_a_handover_closes_no_socket_as_long_as_nobody_is_known_to_be_connected():
    async with moving() as (cluster, _feed, owner, other):
        never = asyncio.Event()

        async def hang(_: object) -> None:
            await never.wait()

        async def away(operation: str, key: str) -> None:
            raise StoreError("away")

        other.dialer.before = hang
        socket = owner.socket_of("a")
        move(owner, other)
        await cluster.settle(1)
        assert (await cluster.record("a")).instance_id == other.id
        cluster.store.before = away
        await cluster.settle(30)
        assert socket.is_open, "the only socket was closed, though the peer is healthy"


@virtual_time
async def test_a_command_in_a_handover_that_is_taken_back_while_the_socket_closes_fails_no_keeper():
    async with moving() as (cluster, _, owner, other):
        never = asyncio.Event()

        async def hang(_: object) -> None:
            await never.wait()

        other.dialer.before = hang
        socket = owner.socket_of("a")
        close = socket.close

        async def close_slowly(code: int, reason: str, *, is_read: bool = False) -> None:
            await asyncio.sleep(5)
            await close(code, reason, is_read=is_read)

        socket.close = close_slowly
        move(owner, other)
        await cluster.settle(1)
        assert (await cluster.record("a")).instance_id == other.id
        assert (await cluster.command("reconnect", id="a"))["status"] == "accepted"
        await cluster.settle(20)
        failed = [fields for event, fields in owner.observer.warnings if event == "keeper_failed"]
        assert not failed, failed


@virtual_time
async def test_the_count_of_frames_received_never_falls():
    async with moving() as (cluster, _, owner, other):
        other.dialer.failures += [NOT_FROM_HERE] * 100
        before = owner.resident.gauges().frames_received
        move(owner, other)
        for _ in range(100):
            await cluster.settle(0.1)
            now = owner.resident.gauges().frames_received
            assert now >= before, f"from {before} to {now}"
            before = now


@virtual_time
async def test_an_owner_that_learns_at_its_offer_that_another_owns_the_connection_lets_go():
    async with moving() as (cluster, _feed, owner, other):
        await cluster.records.update(
            "a", lambda record: record.changed(instance_id=other.id, epoch=record.epoch + 1) if record else None
        )
        move(owner, other)
        await cluster.settle(5)
        assert "a" not in owner.host.keepers, "it reads on as if it were the owner"


@virtual_time
async def test_frames_are_published_after_a_keeper_has_failed_that_held_them_back():
    async with moving() as (cluster, _feed, owner, other):
        owner.host.keepers["a"].queue.hold()  # so that the arrival lasts
        move(owner, other)
        await cluster.settle(1)
        assert "a" in other.held

        owner.host.keepers["a"]._moving.cancel()
        keeper = other.host.keepers["a"]

        def boom(*_: object, **__: object) -> None:
            raise RuntimeError("a bug")

        task = other.host._tasks["a"]
        keeper.courier.can_act = boom
        await cluster.command("send", id="a", message="x")
        await cluster.settle(2)
        assert task.done()
        await cluster.settle(30)
        assert "a" in other.held
        epoch = (await cluster.record("a")).epoch
        assert any(data["epoch"] == epoch for data in cluster.data("frame")), "it reads and never publishes"


@virtual_time
async def test_the_gap_after_a_claim_whose_answer_was_lost_does_not_begin_with_the_process_before():
    cluster = Cluster(1, FAST)
    async with cluster.running():
        await cluster.settle(3)
        await cluster.members["A"].stop()
        cluster.new("A").start()
        await cluster.settle(36_000)
        await cluster.connect("a")
        await cluster.settle(10)
        cluster.members["A"].host._tasks["a"].cancel()  # stands for any keeper that has failed
        failed_at = cluster.clock.now()
        await cluster.settle(60)
        (gap,) = blind_gaps(cluster)
        length = failed_at - datetime.fromisoformat(gap["fromTime"])
        assert length < timedelta(minutes=1), f"{length} long"


@virtual_time
async def test_an_offer_that_was_taken_unseen_when_its_owner_has_to_stop_is_finished():
    async with moving() as (cluster, _feed, owner, other):
        move(owner, other, stays=False)
        await cluster.settle(0.05)
        keeper = owner.host.keepers["a"]
        assert (await cluster.record("a")).instance_id == other.id
        assert not keeper._departure.is_taken
        keeper.drain()
        await cluster.settle(1)
        record = await cluster.record("a")
        assert record.handover is None or record.handover.is_finished, "the new owner waits in vain"


@virtual_time
async def test_frames_of_a_generation_that_has_ended_come_before_those_of_the_next_one_on_another_host():
    cluster = Cluster(2, replace(FAST, rebalances=False))
    async with cluster.running():
        await cluster.settle(3)
        await cluster.connect("a")
        await cluster.settle(3)
        (id_,) = cluster.holders_of("a")
        owner = cluster.members[id_]
        owner_only = True

        async def no_frames_of_old_owner(events: Sequence[Event]) -> None:
            if owner_only and any(event.type.endswith(".frame") and b'"old' in event.data for event in events):
                raise PublishError("away for this host")

        cluster.publisher.before = no_frames_of_old_owner
        owner.socket_of("a").push("old1", "old2")
        await cluster.settle(0.2)
        await cluster.command("disconnect", id="a", keep=True)
        await cluster.settle(0.5)
        owner.host.is_draining = True  # so that the other one claims
        await cluster.connect("a")
        await cluster.settle(2)
        assert all(not member.dialer.sockets for member in cluster.members.values() if member is not owner)
        owner_only = False
        await cluster.settle(10)
        (new,) = cluster.holders_of("a")
        assert new != id_
        cluster.members[new].socket_of("a").push("new")
        await cluster.settle(1)
        assert [data["payload"] for data in cluster.data("frame")] == ["old1", "old2", "new"]


@virtual_time
async def test_a_host_that_stops_while_frames_come_to_it_publishes_them_after_those_of_the_owner_before():
    async with moving() as (cluster, _feed, owner, other):
        epoch = (await cluster.record("a")).epoch

        async def slow_close(code: int, reason: str, *, is_read: bool = False) -> None:
            await asyncio.sleep(3)
            await close(code, reason, is_read=is_read)

        socket = owner.socket_of("a")
        close, socket.close = socket.close, slow_close
        move(owner, other)
        await cluster.settle(1)
        other.host.keepers["a"].drain()
        await cluster.settle(15)
        epochs = [data["epoch"] for data in cluster.data("frame")]
        assert epochs == sorted(epochs), "frames of the old owner after those of the new one"
        assert epoch in epochs


@virtual_time
async def test_a_connection_that_was_offered_to_a_host_that_drains_as_well_goes_to_a_third_one_without_a_gap():
    cluster = Cluster(3, replace(FAST, rebalances=False, handover_s=10))
    async with cluster.running():
        await cluster.settle(3)
        await cluster.connect("a")
        await cluster.settle(3)
        (id_,) = cluster.holders_of("a")
        owner = cluster.members[id_]
        second = min(set("ABC") - {id_})
        cluster.members[second].host.begin_drain()
        feed = Feed(cluster)
        feeding = asyncio.create_task(feed.run())
        await owner.stop()
        await cluster.settle(10)
        feeding.cancel()
        assert cluster.holders_of("a") == [*(set("ABC") - {id_, second})]
        assert blind_gaps(cluster) == []


@virtual_time
async def test_no_handover_is_begun_when_too_little_time_is_left_for_it():
    async with moving() as (cluster, feed, owner, _other):
        owner.host.is_draining = True
        await owner.host.mover.evacuate(0.1)
        await cluster.settle(10)
        feed.check_complete()
        assert blind_gaps(cluster) == [], "a gap where nothing is missing"
        epochs = [data["epoch"] for data in cluster.data("frame")]
        assert epochs == sorted(epochs), "frames of the old owner after those of the new one"


class Away:
    async def get(self, key: str) -> None:
        raise StoreError("away")

    async def get_many(self, keys: Sequence[str]) -> None:
        raise StoreError("away")

    async def put(self, key: str, value: bytes, etag: str | None) -> None:
        raise StoreError("away")

    delete = get


@virtual_time
@pytest.mark.parametrize("close_takes_s", [0, 5])
async def test_under_strict_fencing_a_host_that_is_cut_off_has_closed_before_another_dials(close_takes_s: float):
    cluster = Cluster(2, replace(FAST, is_strict=True, rebalances=False))
    async with cluster.running():
        await cluster.settle(3)
        await cluster.connect("a")
        await cluster.settle(3)
        (id_,) = cluster.holders_of("a")
        owner = cluster.members[id_]
        other = next(member for member in cluster.members.values() if member is not owner)
        socket = owner.socket_of("a")
        close = socket.close

        async def no_answer(code: int, reason: str, *, is_read: bool = False) -> None:
            await asyncio.sleep(close_takes_s)
            await close(code, reason, is_read=is_read)

        socket.close = no_answer
        both = []
        other.dialer.on_dial = lambda _: both.append(socket.is_open)
        owner.host.tools.records.store = Away()
        await cluster.settle(30)
        assert both
        assert not both[0], "two sockets are open"


@virtual_time
async def test_what_is_sent_after_a_new_connect_is_not_failed_for_the_generation_before():
    cluster = Cluster(1, FAST)
    async with cluster.running():
        await cluster.settle(3)
        await cluster.connect("a")
        await cluster.settle(1)
        await cluster.command("disconnect", id="a", keep=True)
        await cluster.settle(1)
        done = False

        async def before(operation: str, key: str) -> None:  # another process, between two reads of the host
            nonlocal done
            if operation == "get" and key == "websocket.outbox.a" and not done:
                done = True
                await cluster.connect("a")
                sent = await cluster.command("send", id="a", message="x", commandId="s")
                assert sent["status"] == "accepted"

        cluster.store.before = before
        cluster.members["A"].host.nudge("a")
        await cluster.settle(3)
        assert done
        ends = [(o["status"], o["reason"]) for o in cluster.data("outcome") if o["commandId"] == "s"]
        assert ends[-1][0] == "done", ends


@virtual_time
async def test_a_departure_that_fails_is_told_and_does_not_stop_all_moves_for_ever():
    async with moving() as (cluster, _, owner, other):

        def boom(*_: object) -> None:
            raise RuntimeError("a bug")

        keeper = owner.host.keepers["a"]
        keeper.hand_over(other.id, FAST.handover_s, boom)
        other.dialer.failures += [NOT_FROM_HERE] * 100
        await cluster.settle(20)
        assert owner.observer.warnings, "nobody is told"
        assert not owner.host.mover._moving(), "the mover waits for ever"
