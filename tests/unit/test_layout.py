"""The layout of the index is fixed when a store is first used, and no etag is used that is too old."""

from __future__ import annotations

import asyncio
import json

import pytest

from runtime.adapters.memory.store import MemoryStore
from runtime.errors import GarbageRecordError, PermanentError, StoreError
from runtime.ports import Limits
from runtime.records import Records
from tests.unit.world import World
from tests.virtual_time import FakeClock, virtual_time


def records_of(store: MemoryStore, shards: int = 1) -> Records:
    return Records(store, FakeClock(), lambda: 0.5, shards)


@virtual_time
async def test_whoever_comes_first_fixes_the_layout_and_another_setting_is_refused_with_both_numbers():
    store = MemoryStore()
    await asyncio.gather(*(records_of(store, 16).keep_layout() for _ in range(5)))
    assert json.loads(store.values["websocket.layout"].value) == {"indexShards": 16}
    with pytest.raises(PermanentError, match=r"index_shards 16, .*set to 4: set index_shards to 16, or use an empty"):
        await records_of(store, 4).keep_layout()
    await records_of(store, 16).keep_layout()


@virtual_time
async def test_of_two_that_start_at_once_with_different_settings_one_is_refused():
    store = MemoryStore()

    async def slow(operation: str, key: str) -> None:
        await asyncio.sleep(0.1)

    store.before = slow
    ends = await asyncio.gather(*(records_of(store, n).keep_layout() for n in (1, 2)), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["NoneType", "PermanentError"]


@virtual_time
async def test_a_store_with_an_index_and_no_layout_has_one_key():
    store = MemoryStore()
    await store.put("websocket-index", b'["a"]', None)
    with pytest.raises(PermanentError, match="set index_shards to 1"):
        await records_of(store, 2).keep_layout()
    assert await records_of(store).ids() == ["a"]


@virtual_time
async def test_nobody_touches_the_index_before_the_layout_is_known():
    store = MemoryStore()
    await records_of(store, 4).add_to_index("a")
    other = records_of(store, 2)
    before = dict(store.values)
    for change in (other.add_to_index("b"), other.remove_from_index("a"), other.ids(), anext(other.each_shard())):
        with pytest.raises(StoreError, match="set index_shards to 4"):
            await change
    assert store.values == before
    await store.put("websocket.layout", b"garbage", store.values["websocket.layout"].etag)
    with pytest.raises(GarbageRecordError, match=r"websocket\.layout"):
        await records_of(store, 4).keep_layout()


@virtual_time
async def test_a_manager_with_another_setting_does_not_start():
    store = MemoryStore()
    await records_of(store, 4).keep_layout()
    manager = World(Limits(index_shards=2), store=store).manager
    with pytest.raises(PermanentError, match="set index_shards to 4"):
        await manager.begin()
    with pytest.raises(PermanentError, match="set index_shards to 4"):
        await manager.run()


@virtual_time
async def test_a_store_that_is_away_at_the_start_is_waited_for():
    world = World(Limits(index_shards=2))
    away = True

    async def before(operation: str, key: str) -> None:
        if away and key == "websocket-index":
            raise StoreError("away")

    world.store.before = before
    running = asyncio.create_task(world.manager._keep_layout())
    await asyncio.sleep(10)
    assert not running.done()
    away = False
    await asyncio.sleep(2)
    assert running.done()
    assert {event for event, _ in world.observer.warnings} == {"layout_not_read"}


@virtual_time
async def test_changes_of_one_process_to_the_index_that_come_at_once_are_one_write_and_all_are_kept():
    store = MemoryStore()
    records = records_of(store)
    operations: list[str] = []

    async def before(operation: str, key: str) -> None:
        if key == "websocket-index":
            operations.append(operation)
        await asyncio.sleep(0.01)

    await records.keep_layout()
    store.before = before
    ids = [f"c{number}" for number in range(500)]
    await asyncio.gather(*(records.add_to_index(id_) for id_ in ids))
    assert sorted(await records.ids()) == sorted(ids)
    assert operations.count("put") <= 2
    assert operations.count("get") <= 2
    await asyncio.gather(*(records.remove_from_index(id_) for id_ in ids[:250]))
    assert sorted(await records.ids()) == sorted(ids[250:])


@virtual_time
async def test_a_change_of_the_index_whose_caller_was_told_that_it_failed_is_not_made_later():
    store = MemoryStore()
    records = records_of(store)
    await records.add_to_index("a")

    async def broken(operation: str, key: str) -> None:
        raise StoreError("away")

    store.before = broken
    with pytest.raises(StoreError):
        await records.remove_from_index("a")
    store.before = None
    await records.add_to_index("b")
    assert await records.ids() == ["a", "b"]


@pytest.mark.parametrize(("pause_s", "reads"), [(29, 1), (31, 2)])
def test_no_write_uses_an_etag_that_was_read_more_than_thirty_seconds_ago(pause_s: float, reads: int):
    @virtual_time
    async def run():
        store = MemoryStore()
        records = records_of(store)
        await store.put("websocket.x", b'{"ids":["a"]}', None)
        seen: list[str] = []

        async def before(operation: str, key: str) -> None:
            seen.append(operation)
            if seen == ["get"]:
                await asyncio.sleep(pause_s)

        store.before = before
        await records._swap("websocket.x", lambda value: b"new")
        assert seen == ["get"] * reads + ["put"]

    run()


@pytest.mark.parametrize(
    ("slow", "pause_s", "operations"),
    [
        (2, 29, ["get", "get", "delete", "delete"]),
        (2, 31, ["get", "get"] * 2 + ["delete", "delete"]),
        (3, 31, ["get", "get", "delete", "get", "get", "delete"]),
    ],
)
def test_no_tombstone_is_deleted_by_an_etag_that_was_read_more_than_thirty_seconds_ago(
    slow: int, pause_s: float, operations: list[str]
):
    @virtual_time
    async def run():
        world = World()
        await world.command("connect", id="a", url="wss://feed.example/")
        await world.command("disconnect", id="a")
        await world.store.put("websocket.outbox.a", b"{}", None)
        seen: list[str] = []

        async def before(operation: str, key: str) -> None:
            if key in {"websocket-a", "websocket.outbox.a"}:
                seen.append(operation)
                await asyncio.sleep(pause_s if len(seen) == slow else 0)

        world.store.before = before
        assert await world.records.delete("a", lambda _: True)
        assert seen == operations
        assert "websocket.outbox.a" not in world.store.values

    run()
