"""When a host looks at the records, at which, and what it leaves to others."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from runtime.errors import StoreError
from runtime.models.status import ConnectionStatus
from runtime.placement import place_of
from tests.unit import cluster as clusters
from tests.unit.cluster import Cluster
from tests.virtual_time import virtual_time

LIMITS = replace(clusters.LIMITS, rebalances=False)

IDS = [f"c{number:02}" for number in range(24)]


class Reads:
    """Which records were read in bulk since `clear`, and the reads of the index, one after the other."""

    def __init__(self, cluster: Cluster, delay_s: float = 0.0) -> None:
        self.ids: list[str] = []
        self.operations: list[str] = []
        self.delay_s = delay_s
        cluster.store.before = self._before

    async def _before(self, operation: str, key: str) -> None:
        if operation != "get_many" or not key.startswith("websocket-"):
            return
        await asyncio.sleep(self.delay_s)
        if key == "websocket-index":
            self.operations.append("index")
        else:
            self.operations.append("records")
            self.ids += [each.removeprefix("websocket-") for each in key.split(",")]

    def clear(self) -> None:
        self.ids.clear()
        self.operations.clear()


def due_to(id_: str, place: int = 0, among: str = "ABC") -> list[str]:
    return [each for each in IDS if place_of(id_, each, list(among)) == place]


@virtual_time
async def test_what_a_dead_host_held_is_claimed_by_rank_within_a_lease_and_two_ticks():
    async with Cluster(3, LIMITS).running() as cluster:
        await cluster.settle(10)
        await cluster.connect(*IDS)
        await cluster.settle(1)
        await cluster.members["A"].kill()
        lost = [id_ for id_ in IDS if not cluster.holders_of(id_)]
        assert lost
        await cluster.settle(LIMITS.lease_s + 2 * LIMITS.heartbeat_interval_s + 1)
        for id_ in lost:
            (holder,) = cluster.holders_of(id_)
            assert place_of(holder, id_, ["B", "C"]) == 0
            assert (await cluster.record(id_)).status is ConnectionStatus.CONNECTED


@pytest.mark.parametrize(("random", "interval_s"), [(0.0, 540), (0.5, 600), (0.999999, 660)])
def test_a_lost_nudge_costs_at_most_a_slow_pass_which_is_jittered(random: float, interval_s: float):
    @virtual_time
    async def run():
        cluster = Cluster(3, LIMITS)
        cluster.random = lambda: random
        async with cluster.running():
            await cluster.settle(20)
            began = cluster.clock.monotonic() - 20
            cluster.topics.is_lossy = True
            await cluster.connect(*IDS)
            await cluster.settle(interval_s - 2 * LIMITS.heartbeat_interval_s - (cluster.clock.monotonic() - began))
            assert not any(cluster.holders_of(id_) for id_ in IDS)
            await cluster.settle(3 * LIMITS.heartbeat_interval_s)
            for id_ in IDS:
                (holder,) = cluster.holders_of(id_)
                assert place_of(holder, id_, ["A", "B", "C"]) == 0

    run()


@virtual_time
async def test_a_slow_pass_reads_what_is_due_to_the_host_or_to_whom_it_stands_in_for_and_what_it_holds():
    async with Cluster(3, LIMITS).running() as cluster:
        await cluster.settle(10)
        await cluster.connect(*IDS)
        await cluster.settle(1)
        reads, member = Reads(cluster), cluster.members["A"]
        await member.sweeper._pass(is_full=False)
        assert sorted(reads.ids) == sorted(set(due_to("A")) | set(due_to("A", place=1)) | member.held)
        reads.clear()
        await member.sweeper.sweep()
        assert sorted(reads.ids) == IDS
        assert set(reads.ids[: len(due_to("A"))]) == set(due_to("A"))  # first what is to be claimed


@virtual_time
async def test_at_rest_a_tick_reads_leases_only_whoever_asks_for_it():
    async with Cluster(2, LIMITS).running() as cluster:
        await cluster.connect(*IDS)
        await cluster.settle(10)
        reads = Reads(cluster)
        for _ in range(5):
            await cluster.members["A"].resident.tick()  # cron
            await cluster.settle(10)
        assert reads.operations == []


@virtual_time
async def test_when_the_sidecar_is_back_all_records_are_looked_at_and_a_lost_nudge_is_made_up_for():
    async with Cluster(2, LIMITS).running() as cluster:
        await cluster.settle(10)
        cluster.topics.is_lossy = True
        await cluster.connect(*IDS)
        reads = Reads(cluster)
        for member in cluster.members.values():
            await member.resident.catch_up()
        await cluster.settle(1)
        assert sorted(reads.ids) == sorted(IDS * 2)
        assert all(len(cluster.holders_of(id_)) == 1 for id_ in IDS)


@virtual_time
async def test_what_another_host_leaves_undone_is_claimed_by_its_deputies_one_after_the_other():
    cluster = Cluster(3, LIMITS)
    async with cluster.running():
        await cluster.settle(10)
        cluster.topics.is_lossy = True
        await cluster.connect(*IDS)
        for id_ in "AB":  # they live, and never look
            await cluster.members[id_].sweeper._passing.acquire()
        member = cluster.members["C"]
        began = cluster.clock.monotonic()
        await member.resident.catch_up()
        await cluster.settle(1)
        assert member.held == set(due_to("C"))
        await cluster.settle(2 * LIMITS.lease_s - (cluster.clock.monotonic() - began))
        assert member.held == set(due_to("C"))
        await cluster.settle(2 * LIMITS.heartbeat_interval_s)
        assert member.held == set(due_to("C")) | set(due_to("C", place=1))
        await cluster.settle(2 * LIMITS.lease_s)
        assert member.held == set(IDS)


@virtual_time
async def test_two_passes_never_run_at_the_same_time():
    async with Cluster(1, LIMITS).running() as cluster:
        await cluster.connect(*IDS)
        reads, sweeper = Reads(cluster, delay_s=0.1), cluster.members["A"].sweeper
        sweeper.catch_up()
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(sweeper.sweep())
        assert reads.operations == ["index", "records"] * 4


@virtual_time
async def test_a_pass_keeps_to_the_rate_and_reads_a_chunk_at_a_time():
    cluster = Cluster(2, replace(LIMITS, sweep_rate=200))
    many = [f"m{number:04}" for number in range(1000)]
    async with cluster.running():
        await cluster.settle(10)
        for id_ in many:
            await cluster.records.add_to_index(id_)
        reads, sweeper = Reads(cluster), cluster.members["A"].sweeper
        began = cluster.clock.monotonic()
        await sweeper.sweep()
        assert cluster.clock.monotonic() - began == pytest.approx(1000 / 200, abs=1)
        assert sorted(reads.ids) == many
        assert reads.operations.count("records") <= 12


@virtual_time
async def test_a_host_that_dies_during_a_pass_is_not_waited_for():
    cluster = Cluster(3, replace(LIMITS, sweep_rate=100))
    async with cluster.running():
        await cluster.settle(10)
        await cluster.connect(*IDS)
        await cluster.settle(1)
        for number in range(5000):
            await cluster.records.add_to_index(f"m{number:04}")
        cluster.members["B"].sweeper._next_at = 0.0  # a slow pass, which takes half a minute
        await cluster.settle(LIMITS.heartbeat_interval_s + 1)
        assert cluster.members["B"].sweeper._passing.locked()
        await cluster.members["A"].kill()
        lost = [id_ for id_ in IDS if not cluster.holders_of(id_)]
        await cluster.settle(LIMITS.lease_s + 3 * LIMITS.heartbeat_interval_s)
        assert not cluster.members["B"].sweeper._wants_full  # the full one has begun
        await cluster.settle(60)
        assert all(len(cluster.holders_of(id_)) == 1 for id_ in lost)


@virtual_time
async def test_what_could_not_be_looked_at_is_looked_at_again_at_the_next_tick():
    async with Cluster(1, LIMITS).running() as cluster:
        await cluster.settle(10)
        broken = True

        async def before(operation: str, key: str) -> None:
            if broken and operation == "get" and key == "websocket-a":
                raise StoreError("away")

        cluster.topics.is_lossy = True
        await cluster.connect("a")
        cluster.store.before = before
        cluster.members["A"].host.nudge("a")
        await cluster.settle(1)
        broken = False
        await cluster.settle(LIMITS.heartbeat_interval_s + 1)
        assert cluster.holders_of("a") == ["A"]


@virtual_time
async def test_a_pass_that_the_store_has_ended_is_done_again_at_the_next_tick():
    async with Cluster(1, LIMITS).running() as cluster:
        await cluster.settle(10)
        cluster.topics.is_lossy = True
        await cluster.connect("a")

        async def before(operation: str, key: str) -> None:
            if operation == "get_many" and key == "websocket-index":
                cluster.store.before = None
                raise StoreError("away")

        cluster.store.before = before
        cluster.members["A"].sweeper.catch_up()
        await cluster.settle(1)
        assert cluster.holders_of("a") == []
        await cluster.settle(LIMITS.heartbeat_interval_s + 1)
        assert cluster.holders_of("a") == ["A"]
        assert [event for event, _ in cluster.members["A"].observer.warnings] == ["sweep_failed"]


@virtual_time
async def test_a_record_that_connects_for_too_long_is_shown_to_its_owner():
    async with Cluster(2, LIMITS).running() as cluster:
        await cluster.settle(10)
        owner = cluster.members["A"]
        id_ = next(each for each in IDS if place_of("B", each, ["A", "B"]) == 0)
        cluster.topics.is_lossy = True
        await cluster.connect(id_)
        await cluster.records.update(
            id_, lambda r: r and r.changed(instance_id="A", epoch=r.epoch + 1, status=ConnectionStatus.CONNECTING)
        )
        cluster.topics.is_lossy = False
        cluster.members["B"].sweeper.catch_up()
        await cluster.settle(2 * LIMITS.lease_s)
        assert owner.held == set()
        await cluster.settle(30)
        assert owner.held == {id_}
        assert (await cluster.record(id_)).status is ConnectionStatus.CONNECTED
