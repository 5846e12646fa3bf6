"""A host acts only while its lease holds; what becomes of its sockets meanwhile is a setting."""

from __future__ import annotations

from dataclasses import replace

from runtime.errors import StoreError
from tests.unit.cluster import Cluster
from tests.unit.moves import FAST, Feed, blind_gaps, moving
from tests.virtual_time import virtual_time


async def _cut_off(cluster: Cluster) -> None:
    """Nobody reaches the store."""

    async def before(operation: str, key: str) -> None:
        raise StoreError("the store is away")

    cluster.store.before = before


@virtual_time
async def test_sockets_stay_open_while_the_store_is_away_for_longer_than_a_lease():
    async with moving() as (cluster, feed, owner, _):
        socket = owner.socket_of("a")
        await _cut_off(cluster)
        await cluster.settle(30)
        assert socket.is_open
        cluster.store.before = None
        await cluster.settle(30)
        assert socket.is_open, "a living host was taken for dead after the outage"
        assert cluster.holders_of("a") == [owner.id]
        feed.check_complete()


@virtual_time
async def test_under_strict_fencing_sockets_are_closed_when_the_lease_has_run_out_and_opened_when_it_is_back():
    cluster = Cluster(2, replace(FAST, is_strict=True))
    async with cluster.running():
        await cluster.settle(3)
        await cluster.connect("a")
        await cluster.settle(1)
        feed = Feed(cluster)
        assert len(feed.sockets()) == 1
        await _cut_off(cluster)
        await cluster.settle(FAST.lease_s + 1)
        assert feed.sockets() == []
        cluster.store.before = None
        await cluster.settle(15)
        assert len(feed.sockets()) == 1
        assert len(blind_gaps(cluster)) == 1


@virtual_time
async def test_under_strict_fencing_a_socket_whose_opening_script_still_runs_is_closed_too():
    cluster = Cluster(1, replace(FAST, is_strict=True))
    async with cluster.running():
        await cluster.settle(3)
        script = [{"expect": {"contains": "welcome"}, "withinS": 300}]
        await cluster.connect("a", options={"openingMessages": script})
        await cluster.settle(1)
        feed = Feed(cluster)
        assert len(feed.sockets()) == 1
        await _cut_off(cluster)
        await cluster.settle(FAST.lease_s + 1)
        assert feed.sockets() == []


@virtual_time
async def test_nothing_is_dialled_or_sent_while_the_lease_has_run_out():
    async with moving() as (cluster, feed, owner, _):
        await _cut_off(cluster)
        await cluster.settle(FAST.lease_s + 1)
        dials = owner.dialer.dials
        owner.socket_of("a").lose(1012)
        await cluster.settle(30)
        assert owner.dialer.dials == dials
        cluster.store.before = None
        await cluster.settle(15)
        assert len(feed.sockets()) == 1
