"""What a sweep puts right: the index, a status out of place, a host that no nudge reaches."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from runtime.models.constants import index_key
from runtime.models.status import ConnectionStatus
from runtime.placement import place_of
from tests.unit.cluster import LIMITS, Cluster
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time

SOON_S = 5.0


async def rewrite(cluster: Cluster | World, key: str, value: bytes) -> None:
    stored = await cluster.store.get(key)
    await cluster.store.put(key, value, stored.etag if stored else None)


@virtual_time
async def test_an_id_without_a_record_leaves_the_index_after_a_grace_period_by_the_host_that_it_is_due_to():
    async with Cluster(2, replace(LIMITS, sweep_interval_s=30)).running() as cluster:
        await cluster.settle(10)
        await cluster.connect("a")
        await cluster.records.add_to_index("orphan")
        await cluster.settle(40)
        assert await cluster.records.ids() == ["a", "orphan"]
        await cluster.settle(60)
        assert await cluster.records.ids() == ["a"]


@virtual_time
async def test_ids_that_the_index_has_lost_are_put_back_by_those_who_hold_the_connections():
    ids = [f"c{number}" for number in range(10)]
    async with Cluster(2, replace(LIMITS, sweep_interval_s=30)).running() as cluster:
        await cluster.settle(10)
        await cluster.connect(*ids)
        await rewrite(cluster, "websocket-index", b'["c0"]')
        await cluster.settle(40)
        assert sorted(await cluster.records.ids()) == ids


@pytest.mark.parametrize("wrong", [ConnectionStatus.DISCONNECTED, ConnectionStatus.CONNECTING])
def test_a_status_that_somebody_else_has_written_into_a_held_record_is_put_right(wrong: ConnectionStatus):
    @virtual_time
    async def run():
        async with World().running() as world:
            socket = await world.connect()
            await world.records.update("a", lambda r: r and r.changed(status=wrong))
            await world.sweep()
            await world.settle()
            record = await world.record()
            assert (record.status, record.instance_id) == (ConnectionStatus.CONNECTED, "me")
            assert (socket.is_open, world.dialer.dials) == (True, 1)

    run()


@pytest.mark.parametrize("status", [ConnectionStatus.CONNECTED, ConnectionStatus.RECONNECTING])
@pytest.mark.parametrize("is_wanted", [True, False])
def test_a_connected_record_without_an_owner_is_put_right(status: ConnectionStatus, is_wanted: bool):
    @virtual_time
    async def run():
        world = World()
        world.nudges.callbacks = {}
        await world.command("connect", id="a", url=URL, autoReconnect=True)
        if not is_wanted:
            await world.command("disconnect", id="a", keep=True)
        await world.records.update("a", lambda r: r and r.changed(status=status))
        async with world.running():
            await world.sweep()
            await world.settle()
            record = await world.record()
            expected = (ConnectionStatus.CONNECTED, "me") if is_wanted else (ConnectionStatus.DISCONNECTED, None)
            assert (record.status, record.instance_id) == expected

    run()


@virtual_time
async def test_a_host_without_its_subscription_says_so_once_and_looks_every_few_seconds_until_it_is_there():
    async with Cluster(2, replace(LIMITS, rebalances=False)).running() as cluster:
        await cluster.settle(10)
        member = cluster.members["A"]
        first, second = [id_ for id_ in (f"c{n}" for n in range(99)) if place_of("A", id_, ["A", "B"]) == 0][:2]
        cluster.topics.is_lossy = True
        member.sweeper.hear(is_subscribed=False)  # as a sidecar says that has not asked yet
        await cluster.settle(10)
        assert not member.sweeper.is_deaf
        for _ in range(3):
            member.sweeper.hear(is_subscribed=False)
        for command, id_, holders in (("connect", first, ["A"]), ("connect", second, ["A"]), ("disconnect", first, [])):
            await cluster.command(command, id=id_, autoReconnect=True, **({"url": URL} if command == "connect" else {}))
            await cluster.settle(SOON_S + LIMITS.heartbeat_interval_s)
            assert cluster.holders_of(id_) == holders
        assert [event for event, _ in member.observer.warnings] == ["not_subscribed"]
        assert sum("is not subscribed to websocket-host-A" in data["reason"] for data in cluster.data("notice")) == 1
        member.sweeper.hear(is_subscribed=True)
        await cluster.settle(10)
        assert not member.sweeper.is_deaf
        assert member.sweeper._next_at - cluster.clock.monotonic() > 500


@virtual_time
async def test_a_part_of_the_index_that_cannot_be_read_is_in_no_others_way():
    cluster = Cluster(1, replace(LIMITS, index_shards=2, sweep_interval_s=30))
    async with cluster.running():
        await cluster.settle(10)
        cluster.topics.is_lossy = True
        await cluster.connect("a")
        other = next(f"c{n}" for n in range(99) if index_key(f"c{n}", 2) != index_key("a", 2))
        await cluster.records.add_to_index(other)
        await rewrite(cluster, index_key(other, 2), b"garbage")
        await cluster.settle(35)
        assert cluster.holders_of("a") == ["A"]
        assert [event for event, _ in cluster.members["A"].observer.warnings] == ["sweep_failed"]


@virtual_time
async def test_an_entry_of_the_index_that_no_key_can_hold_is_said_and_in_nobodys_way():
    async with World().running() as world:
        world.nudges.callbacks = {}
        await world.command("connect", id="a", url=URL, autoReconnect=True)
        await rewrite(world, "websocket-index", json.dumps(["x||y", "", "a", "z" * 600]).encode())
        asked: list[str] = []

        async def before(operation: str, key: str) -> None:
            asked.append(key)

        world.store.before = before
        for _ in range(2):
            await world.sweep()
        await world.settle()
        assert not any("||" in key for key in asked)
        assert (await world.record()).status is ConnectionStatus.CONNECTED
        assert sorted(data["connectionId"] for data in world.data("notice")) == ["", "x||y", "z" * 600]
        assert [view["id"] for view in await world.command("connections")] == ["a"]
