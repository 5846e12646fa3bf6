"""Handovers in which something goes wrong: the store, the time, a command, another stop, a bug."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from runtime.errors import StoreError
from runtime.failure import Failure, FailureKind
from runtime.models.status import ConnectionStatus
from tests.unit.cluster import Cluster
from tests.unit.moves import FAST, blind_gaps, feeding, move, moving
from tests.virtual_time import virtual_time

NOT_FROM_HERE = Failure(FailureKind.TRANSIENT, "not from here")


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

        socket.close = close_slowly  # type: ignore[method-assign]
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

        socket.close = close_slowly  # type: ignore[method-assign]
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

        departing = owner.host.keepers["a"]._moving
        assert departing is not None
        departing.cancel()
        keeper = other.host.keepers["a"]

        def boom(*_: object, **__: object) -> None:
            raise RuntimeError("a bug")

        task = other.host._tasks["a"]
        keeper.courier.can_act = boom  # type: ignore[assignment]
        await cluster.command("send", id="a", message="x")
        await cluster.settle(2)
        assert task.done()
        await cluster.settle(30)
        assert "a" in other.held
        epoch = (await cluster.record("a")).epoch
        assert any(data["epoch"] == epoch for data in cluster.data("frame")), "it reads and never publishes"


@virtual_time
async def test_an_offer_that_was_taken_unseen_when_its_owner_has_to_stop_is_finished():
    async with moving() as (cluster, _feed, owner, other):
        move(owner, other, stays=False)
        await cluster.settle(0.05)
        keeper = owner.host.keepers["a"]
        assert (await cluster.record("a")).instance_id == other.id
        assert keeper._departure is not None
        assert not keeper._departure.is_taken
        keeper.drain()
        await cluster.settle(1)
        record = await cluster.record("a")
        assert record.handover is None or record.handover.is_finished, "the new owner waits in vain"


@virtual_time
async def test_a_host_that_stops_while_frames_come_to_it_publishes_them_after_those_of_the_owner_before():
    async with moving() as (cluster, _feed, owner, other):
        epoch = (await cluster.record("a")).epoch

        async def slow_close(code: int, reason: str, *, is_read: bool = False) -> None:
            await asyncio.sleep(3)
            await close(code, reason, is_read=is_read)

        socket = owner.socket_of("a")
        close = socket.close
        socket.close = slow_close  # type: ignore[method-assign]
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
        async with feeding(cluster, "a"):
            await owner.stop()
            await cluster.settle(10)
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


@virtual_time
async def test_a_departure_that_fails_is_told_and_does_not_stop_all_moves_for_ever():
    async with moving() as (cluster, _, owner, other):

        def boom(*_: object) -> None:
            raise RuntimeError("a bug")

        keeper = owner.host.keepers["a"]
        keeper.hand_over(other.id, FAST.handover_s, boom)  # type: ignore[arg-type]
        other.dialer.failures += [NOT_FROM_HERE] * 100
        await cluster.settle(20)
        assert owner.observer.warnings, "nobody is told"
        assert not owner.host.mover._moving(), "the mover waits for ever"
