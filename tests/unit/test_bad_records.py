"""Records that nobody should have written: said once, in nobody's way, and never the end of a sweep."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from runtime.models.status import ConnectionStatus
from tests.unit import cluster as clusters
from tests.unit.cluster import Cluster, url_of
from tests.virtual_time import virtual_time

LIMITS = replace(clusters.LIMITS, sweep_interval_s=60, rebalances=False)
GOOD = [f"c{number}" for number in range(10)]


async def write(cluster: Cluster, id_: str, value: bytes) -> None:
    await cluster.records.add_to_index(id_)
    stored = await cluster.store.get(f"websocket-{id_}")
    await cluster.store.put(f"websocket-{id_}", value, stored.etag if stored else None)


def a_record(id_: str, **fields: object) -> bytes:
    record = {"id": id_, "url": url_of(id_) + "?x=y", "status": 0, "autoReconnect": True, "generation": 1}
    return json.dumps({**record, "createdAt": "2026-01-01T00:00:00Z", **fields}).encode()


@pytest.mark.parametrize("status", [0, 1, 2, 3])
def test_a_record_whose_owner_never_beat_is_claimed_after_a_lease_of_looking_and_not_before(status: int):
    @virtual_time
    async def run():
        async with Cluster(2, LIMITS).running() as cluster:
            await cluster.settle(10)
            await write(cluster, "a", a_record("a", status=status, instanceId="ghost", epoch=7))
            for member in cluster.members.values():
                member.sweeper.catch_up()
            await cluster.settle(LIMITS.lease_s - 1)
            assert cluster.holders_of("a") == []
            await cluster.settle(3 * LIMITS.heartbeat_interval_s)
            assert len(cluster.holders_of("a")) == 1
            record = await cluster.record("a")
            assert (record.status, record.epoch) == (ConnectionStatus.CONNECTED, 8)

    run()


@pytest.mark.parametrize(
    "value",
    [
        a_record("bad", instanceId="with a space"),
        a_record("bad", instanceId="x||y"),
        a_record("bad", instanceId=""),
        a_record("bad", instanceId="i" * 129),
        a_record("bad", instanceId="new\n"),
        a_record("bad", instanceId=7),
        a_record("bad", epoch=-1),
        a_record("bad", epoch="many"),
        a_record("bad", generation=-1),
        a_record("bad", status=4),
        a_record("bad", status=-1),
        a_record("bad", status="Dancing"),
        a_record("bad", status=None),
        a_record("another"),
        a_record("bad", handover={"source": "x||y", "epoch": 1, "withinS": 1}),
        a_record("bad", handover={"source": "A", "epoch": 1, "to": "x||y", "withinS": 1}),
        a_record("bad", createdAt="soon"),
        b"",
        b"\x00\xff\xfe",
        b"[]",
        b"null",
        b"7",
        b'"text"',
        b"{}",
        b"[" * 5000,
        b'{"id":"bad","epoch":1e400}',
        b'{"id":"bad","epoch":' + b"9" * 400 + b"}",
    ],
)
def test_garbage_is_quarantined_with_one_event_and_in_no_other_records_way(value: bytes):
    @virtual_time
    async def run():
        async with Cluster(2, LIMITS).running() as cluster:
            await cluster.settle(10)
            await write(cluster, "bad", value)
            cluster.topics.is_lossy = True
            await cluster.connect(*GOOD)
            stored = cluster.store.values["websocket-bad"]
            for _ in range(3):
                for member in cluster.members.values():
                    member.host.nudge("bad")
                await cluster.settle(60 + 2 * LIMITS.heartbeat_interval_s)
            assert all(len(cluster.holders_of(id_)) == 1 for id_ in GOOD)
            notices = [data for data in cluster.data("notice") if data["connectionId"] == "bad"]
            assert 1 <= len(notices) <= 2  # each host that was nudged says it once
            assert all("record quarantined: the value under websocket-bad" in data["reason"] for data in notices)
            assert cluster.store.values["websocket-bad"] == stored
            assert all(member.running and not member.running.done() for member in cluster.members.values())

    run()


@virtual_time
async def test_without_a_nudge_one_host_alone_says_that_a_record_is_quarantined():
    async with Cluster(3, LIMITS).running() as cluster:
        await cluster.settle(10)
        await write(cluster, "bad", b"garbage")
        for _ in range(3):
            for member in cluster.members.values():
                member.sweeper.catch_up()
            await cluster.settle(5)
        assert len(cluster.data("notice")) == 1


@virtual_time
async def test_a_record_that_was_repaired_is_served():
    async with Cluster(2, LIMITS).running() as cluster:
        await cluster.settle(10)
        await write(cluster, "bad", b"garbage")
        await cluster.settle(70)
        await write(cluster, "bad", a_record("bad"))
        await cluster.settle(70)
        assert len(cluster.holders_of("bad")) == 1


@virtual_time
async def test_a_held_record_that_becomes_garbage_keeps_its_socket_and_stops_nobody():
    async with Cluster(1, LIMITS).running() as cluster:
        await cluster.settle(10)
        await cluster.connect("a", *GOOD)
        await cluster.settle(1)
        socket = cluster.members["A"].socket_of("a")
        await write(cluster, "a", b"garbage")
        cluster.members["A"].host.nudge("a")
        await cluster.settle(130)
        assert socket.is_open
        assert cluster.members["A"].held == {"a", *GOOD}
        assert len(cluster.data("notice")) == 1
