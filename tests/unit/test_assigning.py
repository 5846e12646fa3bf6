"""Which host gets a new connection: dealt out by load, by each host for itself."""

from __future__ import annotations

from dataclasses import replace

from runtime.ownership import claim
from tests.unit import cluster as clusters
from tests.unit.cluster import SHARED, Cluster
from tests.virtual_time import virtual_time

LIMITS = replace(clusters.LIMITS, rebalances=False)


def only_to(cluster: Cluster, id_: str) -> None:
    """All that comes on the shared topic goes to one host."""
    cluster.topics.subscribed[SHARED] = [cluster.members[id_].host.assign]


def ids(count: int, name: str = "c") -> list[str]:
    return [f"{name}{number:02}" for number in range(count)]


@virtual_time
async def test_a_burst_that_reaches_one_host_is_dealt_out_evenly_though_no_lease_has_told_of_it():
    async with Cluster(3, LIMITS).running() as cluster:
        await cluster.settle(10)
        only_to(cluster, "A")
        await cluster.connect(*ids(60))
        await cluster.settle(1)
        loads = cluster.loads()
        assert sum(loads.values()) == 60
        assert max(loads.values()) - min(loads.values()) <= 4, loads


@virtual_time
async def test_hosts_get_connections_in_proportion_to_what_they_may_hold():
    cluster = Cluster(2, replace(LIMITS, max_connections=300))
    cluster.limits = replace(LIMITS, max_connections=100)
    cluster.new("C")
    async with cluster.running():
        await cluster.settle(10)
        only_to(cluster, "C")
        await cluster.connect(*ids(70))
        await cluster.settle(1)
        loads = cluster.loads()
        assert abs(loads["C"] - 10) <= 2, loads
        assert abs(loads["A"] - 30) <= 3, loads


@virtual_time
async def test_a_host_that_has_its_share_keeps_what_it_gets():
    async with Cluster(3, LIMITS).running() as cluster:
        await cluster.settle(10)
        await cluster.connect(*ids(30))
        await cluster.settle(10)
        cluster.topics.sent.clear()
        only_to(cluster, "B")
        await cluster.connect("one-more")
        await cluster.settle(1)
        assert cluster.holders_of("one-more") == ["B"]
        assert cluster.topics.sent == [(SHARED, "one-more")]


@virtual_time
async def test_what_was_passed_on_is_not_passed_on_again():
    async with Cluster(3, LIMITS).running() as cluster:
        await cluster.settle(10)
        only_to(cluster, "A")
        await cluster.connect(*ids(30))
        await cluster.settle(10)
        before = dict(cluster.loads())
        for id_ in ids(10, "d"):
            await cluster.topics.nudge("nowhere", id_)
            cluster.topics.subscribed[SHARED] = [cluster.members["C"].host.nudge]  # as on its own topic
            await cluster.connect(id_)
        await cluster.settle(1)
        assert cluster.loads()["C"] == before["C"] + 10


@virtual_time
async def test_a_full_host_passes_on_and_when_all_are_full_what_is_too_much_waits_for_room_without_a_storm():
    cluster = Cluster(2, replace(LIMITS, max_connections=3))
    async with cluster.running():
        await cluster.settle(10)
        only_to(cluster, "A")
        await cluster.connect(*ids(6))
        await cluster.settle(10)
        assert cluster.loads() == {"A": 3, "B": 3}
        cluster.topics.sent.clear()
        await cluster.connect("late")
        await cluster.settle(60)
        assert cluster.holders_of("late") == []
        assert len(cluster.topics.sent) < 5
        full = [data["reason"] for data in cluster.data("notice")]
        assert full == ["A holds 3 connections (max_connections): others wait"]
        (freed,) = [id_ for id_ in ids(6) if cluster.holders_of(id_) == ["B"]][:1]
        await cluster.command("disconnect", id=freed)
        await cluster.settle(2 * LIMITS.heartbeat_interval_s + 1)
        assert cluster.holders_of("late") == ["B"]


@virtual_time
async def test_two_hosts_that_each_take_the_other_for_roomy_do_not_send_a_connection_to_and_fro():
    cluster = Cluster(2, replace(LIMITS, max_connections=2))
    async with cluster.running():
        await cluster.settle(10)
        await cluster.connect(*ids(4))  # within a heartbeat: neither lease has told of it
        await cluster.settle(0.5)
        cluster.topics.sent.clear()
        await cluster.connect("late")
        await cluster.settle(3)
        assert len(cluster.topics.sent) <= 4


@virtual_time
async def test_a_draining_host_passes_on_what_it_gets():
    async with Cluster(2, LIMITS).running() as cluster:
        await cluster.settle(10)
        only_to(cluster, "A")
        cluster.members["A"].host.is_draining = True
        await cluster.connect("a")
        await cluster.settle(1)
        assert cluster.holders_of("a") == ["B"]


@virtual_time
async def test_what_a_dead_host_has_left_is_not_passed_on_by_load():
    async with Cluster(3, LIMITS).running() as cluster:
        await cluster.settle(10)
        cluster.topics.subscribed[SHARED] = [cluster.members["B"].host.nudge]
        await cluster.connect(*ids(20))
        await cluster.settle(10)
        cluster.topics.is_lossy = True
        await cluster.connect("x1", "x2", "x3", "x4")
        for id_ in ("x1", "x2", "x3", "x4"):
            now = cluster.clock.now()
            await cluster.records.update(id_, lambda r: r and claim(r, "gone", now))  # noqa: B023 - called at once
        cluster.topics.is_lossy = False
        cluster.topics.sent.clear()
        for member in cluster.members.values():
            member.sweeper.catch_up()
        await cluster.settle(60)
        assert all(len(cluster.holders_of(id_)) == 1 for id_ in ("x1", "x2", "x3", "x4"))
        assert not [topic for topic, id_ in cluster.topics.sent if id_.startswith("x")]
