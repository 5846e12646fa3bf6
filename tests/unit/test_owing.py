"""What an owner owes when it ends, stops or is cut off: to the next one, to its subscribers, and to the peer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from runtime.errors import PublishError
from runtime.models.events import Event
from runtime.models.status import ConnectionStatus
from tests.unit.cluster import Cluster, View
from tests.unit.moves import FAST, blind_gaps, moving, owning
from tests.virtual_time import virtual_time


async def no_frames(events: Sequence[Event]) -> None:
    if any(event.type.endswith(".frame") for event in events):
        raise PublishError("away")


async def nothing_at_all(events: Sequence[Event]) -> None:
    raise PublishError("away")


def _covers(gap, moment: datetime) -> bool:
    return datetime.fromisoformat(gap["fromTime"]) <= moment <= datetime.fromisoformat(gap["toTime"])


@virtual_time
async def test_frames_that_a_dead_host_had_not_published_are_announced_of_a_connection_that_had_ended_before():
    async with owning(autoReconnect=False) as (cluster, owner, _):
        await cluster.settle(2)
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


@virtual_time
async def test_a_gap_that_was_not_published_at_a_stop_is_announced_by_the_next_owner():
    async with owning(limits=replace(FAST, drain_deadline_s=5)) as (cluster, owner, other):
        await cluster.settle(2)
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
async def test_frames_of_a_generation_that_has_ended_come_before_those_of_the_next_one_on_another_host():
    async with owning() as (cluster, owner, _):
        await cluster.settle(2)
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
        assert new != owner.id
        cluster.members[new].socket_of("a").push("new")
        await cluster.settle(1)
        assert [data["payload"] for data in cluster.data("frame")] == ["old1", "old2", "new"]


@virtual_time
@pytest.mark.parametrize("close_takes_s", [0, 5])
async def test_under_strict_fencing_a_host_that_is_cut_off_has_closed_before_another_dials(close_takes_s: float):
    async with owning(limits=replace(FAST, is_strict=True)) as (cluster, owner, other):
        await cluster.settle(2)
        socket = owner.socket_of("a")
        close = socket.close

        async def no_answer(code: int, reason: str, *, is_read: bool = False) -> None:
            await asyncio.sleep(close_takes_s)
            await close(code, reason, is_read=is_read)

        socket.close = no_answer  # type: ignore[method-assign]
        both = []
        other.dialer.on_dial = lambda _: both.append(socket.is_open)
        view = View(cluster.store)
        view.is_cut = True
        owner.host.tools.records.store = view
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
