"""Hosts that stop, drain, come and are restarted: who holds what in the end, and that no frame is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.unit.cluster import Cluster, Member
from tests.unit.moves import FAST, Feed, blind_gaps, feeding, moving
from tests.virtual_time import virtual_time


@virtual_time
async def test_without_a_second_host_a_stop_closes_with_1001_and_leaves_the_record():
    async with alone() as (cluster, owner):
        socket = owner.socket_of("a")
        await owner.stop()
        assert socket.closed == (1001, "the manager is stopping")
        record = await cluster.record("a")
        assert (record.instance_id, record.handover) == (None, None)
        assert record.is_wanted


@asynccontextmanager
async def alone() -> AsyncIterator[tuple[Cluster, Member]]:
    cluster = Cluster(1, FAST)
    async with cluster.running():
        await cluster.connect("a")
        await cluster.settle(1)
        yield cluster, cluster.members["A"]


@virtual_time
async def test_a_host_that_is_told_to_drain_hands_all_over_and_claims_no_more():
    async with moving() as (cluster, feed, owner, other):
        outcome = await cluster.command("drain", instance=owner.id)
        assert outcome["status"] == "accepted", outcome
        await cluster.settle(8)
        assert cluster.holders_of("a") == [other.id]
        feed.check_complete()
        assert blind_gaps(cluster) == []
        await cluster.connect("b")
        await cluster.settle(8)
        assert cluster.holders_of("b") == [other.id]
        assert owner.running is not None
        assert not owner.running.done()


@asynccontextmanager
async def fed(hosts: int, connections: int) -> AsyncIterator[tuple[Cluster, list[Feed]]]:
    """A cluster that holds so many connections, with a peer for each."""
    cluster = Cluster(hosts, FAST)
    ids = [f"c{number}" for number in range(connections)]
    async with cluster.running():
        await cluster.settle(3)
        await cluster.connect(*ids)
        await cluster.settle(3)
        async with feeding(cluster, *ids) as feeds:
            yield cluster, feeds


def check_nothing_lost(cluster: Cluster, feeds: list[Feed]) -> None:
    assert sum(cluster.loads().values()) == len(feeds)
    for feed in feeds:
        feed.check_complete()
    assert blind_gaps(cluster) == []


@virtual_time
async def test_a_new_host_gets_its_fair_share_without_a_missing_frame():
    async with fed(2, 20) as (cluster, feeds):
        await cluster.settle(1)
        cluster.new("C").start()
        await cluster.settle(30)
        loads = cluster.loads()
        assert max(loads.values()) - min(loads.values()) <= 2, loads
        check_nothing_lost(cluster, feeds)
        moved = len(cluster.data("handover"))
        await cluster.settle(60)
        assert len(cluster.data("handover")) == moved, "it does not come to rest"


@virtual_time
async def test_all_hosts_restarted_one_after_the_other_lose_nothing():
    async with fed(3, 12) as (cluster, feeds):
        for id_ in "ABC":
            await cluster.members[id_].stop()
            await cluster.settle(3)
            dialled = cluster.members[id_].dialer.sockets
            cluster.new(id_).dialer.sockets[:0] = dialled
            cluster.members[id_].start()
            await cluster.settle(20)
        check_nothing_lost(cluster, feeds)
