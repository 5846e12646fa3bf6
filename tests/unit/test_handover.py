"""A connection moves between two living hosts: frames may be doubled, and none is missing."""

from __future__ import annotations

import asyncio
from datetime import datetime

import pytest

from runtime.failure import Failure, FailureKind
from runtime.models.status import ConnectionStatus
from tests.unit.moves import EVERY_S, FAST, blind_gaps, move, moving
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_stopped_host_hands_over_without_a_missing_frame_or_a_gap():
    async with moving() as (cluster, feed, owner, other):
        epoch = (await cluster.record("a")).epoch
        old = owner.socket_of("a")
        await owner.stop()
        await cluster.settle(2)
        feed.check_complete()
        assert cluster.holders_of("a") == [other.id]
        record = await cluster.record("a")
        assert (record.instance_id, record.epoch, record.handover) == (other.id, epoch + 1, None)
        assert record.status is ConnectionStatus.CONNECTED
        assert old.closed == (1000, "handed over")
        assert blind_gaps(cluster) == []
        (handover,) = cluster.data("handover")
        assert (handover["epoch"], handover["isComplete"]) == (epoch, True)
        under_old = [data["sequence"] for data in cluster.data("frame") if data["epoch"] == epoch]
        assert under_old == list(range(1, handover["lastSequence"] + 1))


@virtual_time
async def test_what_the_new_owner_reads_is_held_back_until_the_old_one_has_published_all():
    async with moving() as (cluster, feed, owner, other):
        old_epoch = (await cluster.record("a")).epoch
        move(owner, other)
        await cluster.settle(3)
        epochs = [data["epoch"] for data in cluster.data("frame")]
        assert epochs == sorted(epochs), "frames of the old owner after those of the new one"
        assert set(epochs) == {old_epoch, old_epoch + 1}
        feed.check_complete()


@virtual_time
async def test_lost_nudges_delay_a_handover_and_lose_nothing():
    async with moving() as (cluster, feed, owner, other):
        cluster.topics.is_lossy = True
        move(owner, other)
        other.sweeper.catch_up()
        await cluster.settle(6)
        assert cluster.holders_of("a") == [other.id]
        feed.check_complete()
        assert blind_gaps(cluster) == []


@virtual_time
async def test_an_offer_that_nobody_takes_is_withdrawn_and_the_socket_stays():
    async with moving() as (cluster, feed, owner, other):
        await other.kill()
        socket = owner.socket_of("a")
        move(owner, other)
        await cluster.settle(6)
        record = await cluster.record("a")
        assert (record.instance_id, record.handover) == (owner.id, None)
        assert socket.is_open
        feed.check_complete()


@virtual_time
@pytest.mark.parametrize("kind", [FailureKind.TRANSIENT, FailureKind.FORBIDDEN])
async def test_a_host_that_cannot_connect_gives_the_connection_back_on_the_same_socket(kind: FailureKind):
    async with moving() as (cluster, feed, owner, other):
        epoch, socket = (await cluster.record("a")).epoch, owner.socket_of("a")
        other.dialer.failures += [Failure(kind, "not from here")] * 100
        move(owner, other)
        await cluster.settle(8)
        record = await cluster.record("a")
        assert (record.instance_id, record.epoch, record.handover) == (owner.id, epoch + 2, None)
        assert record.status is ConnectionStatus.CONNECTED
        assert cluster.holders_of("a") == [owner.id]
        assert socket.is_open
        assert blind_gaps(cluster) == []
        feed.check_complete()
        epochs = {data["epoch"] for data in cluster.data("frame")}
        assert epochs == {epoch, epoch + 2}, "what the other one held back was published"


@virtual_time
async def test_sends_reach_the_peer_after_the_connection_was_given_back():
    async with moving() as (cluster, _, owner, other):
        other.dialer.failures += [Failure(FailureKind.TRANSIENT, "not from here")] * 100
        move(owner, other)
        await cluster.settle(8)
        await cluster.command("send", id="a", message="hello")
        await cluster.settle(1)
        assert owner.socket_of("a").sent == ["hello"]


@virtual_time
async def test_a_message_that_is_sent_during_a_handover_is_sent_by_the_new_owner():
    async with moving() as (cluster, _, owner, other):
        move(owner, other)
        await cluster.command("send", id="a", message="hello", commandId="s")
        await cluster.settle(4)
        sent = [message for socket in (*owner.dialer.sockets, *other.dialer.sockets) for message in socket.sent]
        assert "hello" in sent
        assert "done" in [o["status"] for o in cluster.data("outcome") if o["commandId"] == "s"]


@virtual_time
async def test_a_stopping_host_takes_nothing_back_and_the_gap_is_announced():
    async with moving(options={"reconnectBaseDelayS": 4}) as (cluster, feed, owner, other):
        other.dialer.failures += [Failure(FailureKind.TRANSIENT, "not yet")] * 4
        await owner.stop()
        await cluster.settle(60)
        assert cluster.holders_of("a") == [other.id]
        (gap,) = blind_gaps(cluster)
        length = datetime.fromisoformat(gap["toTime"]) - datetime.fromisoformat(gap["fromTime"])
        published = feed.published()
        missing = set(range(published[0], published[-1] + 1)) - set(published)
        assert missing, "nothing was lost: this test shows nothing"
        assert len(missing) <= length.total_seconds() / EVERY_S + 1


@virtual_time
async def test_the_new_owner_goes_on_with_a_gap_when_the_old_one_dies_during_the_handover():
    async with moving() as (cluster, feed, owner, other):
        finish = owner.host.keepers["a"].queue
        finish.hold()  # the old owner never gets its frames out
        owner.host.keepers["a"].hand_over(other.id, 60, lambda: True)
        await cluster.settle(2)
        assert other.socket_of("a").is_open
        await owner.kill()
        await cluster.settle(2 * FAST.lease_s)
        assert cluster.holders_of("a") == [other.id]
        record = await cluster.record("a")
        assert record.handover is None
        assert len(blind_gaps(cluster)) == 1
        assert feed.published()[-1] >= feed.sent - 2


@virtual_time
async def test_the_old_owner_takes_back_what_the_new_one_had_claimed_when_it_died():
    async with moving() as (cluster, feed, owner, other):
        never = asyncio.Event()

        async def hang(_: object) -> None:
            await never.wait()

        other.dialer.before = hang
        move(owner, other)
        await cluster.settle(1)
        assert (await cluster.record("a")).instance_id == other.id
        await other.kill()
        await cluster.settle(12)
        assert cluster.holders_of("a") == [owner.id]
        feed.check_complete()
        assert blind_gaps(cluster) == []


@virtual_time
async def test_what_was_held_back_is_not_published_when_the_connection_was_taken_back():
    async with moving() as (cluster, feed, owner, other):
        epoch = (await cluster.record("a")).epoch
        other.resident.writer._busy.add("a")  # that it is connected never reaches the store
        move(owner, other)
        await cluster.settle(3)
        assert other.socket_of("a").is_open
        await cluster.settle(5)
        assert cluster.holders_of("a") == [owner.id]
        assert {data["epoch"] for data in cluster.data("frame")} == {epoch, epoch + 2}
        feed.check_complete()


@virtual_time
async def test_without_overlap_the_old_socket_is_closed_before_the_new_one_is_opened_and_the_gap_is_announced():
    async with moving(options={"overlap": False}) as (cluster, feed, owner, other):
        most = 0

        def on_dial(_: object) -> None:
            nonlocal most
            most = max(most, len(feed.sockets()))

        other.dialer.on_dial = on_dial
        move(owner, other)
        await cluster.settle(4)
        assert cluster.holders_of("a") == [other.id]
        assert most == 1
        assert len(blind_gaps(cluster)) == 1
        (handover,) = cluster.data("handover")
        assert not handover["isComplete"]


@virtual_time
@pytest.mark.parametrize("moment", [0.0, 0.1, 0.3, 0.6, 1.0])
async def test_a_disconnect_during_a_handover_ends_both_sockets(moment: float):
    async with moving() as (cluster, feed, owner, other):
        move(owner, other)
        await cluster.settle(moment)
        await cluster.command("disconnect", id="a")
        await cluster.settle(8)
        record = await cluster.record("a")
        assert record.is_removed
        assert (record.instance_id, record.status) == (None, ConnectionStatus.DISCONNECTED)
        assert feed.sockets() == []
        assert cluster.holders_of("a") == []


@virtual_time
@pytest.mark.parametrize("moment", [0.0, 0.1, 0.3, 0.6, 1.0])
async def test_a_reconnect_during_a_handover_leaves_one_fresh_socket(moment: float):
    async with moving() as (cluster, feed, owner, other):
        before = [*owner.dialer.sockets]
        move(owner, other)
        await cluster.settle(moment)
        assert (await cluster.command("reconnect", id="a"))["status"] == "accepted"
        await cluster.settle(12)
        (socket,) = feed.sockets()
        assert socket not in before
        record = await cluster.record("a")
        assert (record.status, record.handover) == (ConnectionStatus.CONNECTED, None)
        assert len(cluster.holders_of("a")) == 1
