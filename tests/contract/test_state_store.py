"""One suite for the StateStore port, run on every implementation."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from runtime.adapters.clock import SystemClock
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.store import DaprStore
from runtime.adapters.dapr.thread_channel import ThreadChannel
from runtime.adapters.embedded.store import SqliteStore
from runtime.adapters.memory.store import MemoryStore
from runtime.errors import GarbageRecordError, RaceLostError, StoreError
from runtime.host.place import Place, own_thread
from runtime.ports import StateStore, Stored
from runtime.records import Records
from tests.contract.numbers import add, added
from tests.contract.sidecars import STORES, Prefixed
from tests.sidecar import Sidecar

# A create-only that loses says so on these, and leaves it unknown on all others: see `runtime.adapters.dapr.store`.
KNOW_THAT_A_CREATE_LOST = {"memory", "embedded", "sqlite", "in-memory"}
# Redis counts the etags of each life of a key from 1, and takes any number for a key that is not there: hence the
# tombstones.
FORGETFUL = {"redis"}


ON_THREAD = " on a thread"  # as the lease is kept


class OnThread:
    """A store that is used on another loop."""

    def __init__(self, store: StateStore, place: Place) -> None:
        self._store, self._place = store, place

    async def get(self, key: str) -> Stored | None:
        return await self._place.run(self._store.get(key))

    async def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        return await self._place.run(self._store.get_many(keys))

    async def put(self, key: str, value: bytes, etag: str | None) -> None:
        await self._place.run(self._store.put(key, value, etag))

    async def delete(self, key: str, etag: str) -> None:
        await self._place.run(self._store.delete(key, etag))


@pytest.fixture(params=["memory", "embedded", *STORES, f"redis{ON_THREAD}"])
def which(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def kind(which: str) -> str:
    return which.removesuffix(ON_THREAD)


@pytest.fixture
async def store(which: str, kind: str, request: pytest.FixtureRequest, tmp_path: Path):
    if kind == "memory":
        yield MemoryStore()
    elif kind == "embedded":
        sqlite = await SqliteStore.open(tmp_path / "state.db")
        yield sqlite
        await sqlite.close()
    elif which.endswith(ON_THREAD):
        sidecar: Sidecar = request.getfixturevalue("stores_sidecar")
        thread_channel = ThreadChannel(f"127.0.0.1:{sidecar.grpc_port}", None)
        async with own_thread("store") as place:
            yield Prefixed(OnThread(DaprStore(thread_channel, kind), place))
        thread_channel.close()
    else:
        sidecar = request.getfixturevalue("stores_sidecar")
        channel = Channel(f"127.0.0.1:{sidecar.grpc_port}", None)
        yield Prefixed(DaprStore(channel, kind))
        await channel.close()


async def etag_of(store: StateStore, key: str) -> str:
    stored = await store.get(key)
    assert stored is not None
    return stored.etag


async def create(store: StateStore, key: str, value: bytes) -> None:
    """Write a key of which there is none, though the store may say that it was lost to this very write."""
    try:
        await store.put(key, value, None)
    except (RaceLostError, StoreError):
        stored = await store.get(key)
        assert stored is not None
        assert stored.value == value


async def test_what_was_put_is_read(store: StateStore):
    assert await store.get("k") is None
    await store.put("k", b"\x00value", None)
    stored = await store.get("k")
    assert stored is not None
    assert stored.value == b"\x00value"


async def test_create_only_never_overwrites(store: StateStore, kind: str):
    await store.put("k", b"1", None)
    with pytest.raises(RaceLostError if kind in KNOW_THAT_A_CREATE_LOST else (RaceLostError, StoreError)):
        await store.put("k", b"2", None)
    stored = await store.get("k")
    assert stored is not None
    assert stored.value == b"1"


async def test_a_stale_etag_loses(store: StateStore):
    await store.put("k", b"1", None)
    stale = await etag_of(store, "k")
    await store.put("k", b"2", stale)
    with pytest.raises(RaceLostError):
        await store.put("k", b"3", stale)
    with pytest.raises(RaceLostError):
        await store.delete("k", stale)


@pytest.mark.parametrize("etag", ["0", "7", "nonsense", ""])
async def test_an_etag_that_never_was_loses(store: StateStore, kind: str, etag: str):
    if kind in FORGETFUL and etag.isdigit():
        await store.delete("k", etag)
        await store.put("k", b"1", etag)
        await store.delete("k", await etag_of(store, "k"))
        return
    with pytest.raises(RaceLostError):
        await store.put("k", b"1", etag)
    assert await store.get("k") is None
    await store.put("there", b"1", None)
    with pytest.raises(RaceLostError):
        await store.put("there", b"2", etag)
    with pytest.raises(RaceLostError):
        await store.delete("there", etag)
    assert await store.get("there") is not None


async def test_an_etag_of_an_earlier_life_of_the_key_loses(store: StateStore, kind: str):
    await store.put("k", b"1", None)
    old = await etag_of(store, "k")
    await store.delete("k", old)
    await store.put("k", b"2", None)
    if kind in FORGETFUL:
        assert await etag_of(store, "k") == old
        return
    assert await etag_of(store, "k") != old
    with pytest.raises(RaceLostError):
        await store.put("k", b"3", old)


@pytest.mark.parametrize("value", [b"\xff\x00", b'{"a":12345678901234567890}', b"null", b"text", b"x" * 300_000])
async def test_values_come_back_byte_for_byte(store: StateStore, value: bytes):
    await store.put("k", value, None)
    stored = await store.get("k")
    assert stored is not None
    assert stored.value == value
    assert (await store.get_many(["k"]))["k"].value == value


async def test_get_many_leaves_out_what_is_absent(store: StateStore):
    for number in range(1200):
        await create(store, f"k{number}", str(number).encode())
    found = await store.get_many([f"k{number}" for number in range(1300)])
    assert {key: stored.value for key, stored in found.items()} == {f"k{n}": str(n).encode() for n in range(1200)}


async def test_of_fifty_writers_at_once_each_has_its_number_in_once(store: StateStore):
    writers = [Records(store, SystemClock(), random.random) for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(add(writers[number % 5], "n", number))
    assert await added(store, "n") == list(range(50))


async def test_the_index_loses_no_id(store: StateStore):
    records = Records(store, SystemClock(), random.random)
    async with asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(records.add_to_index(str(number)))
    async with asyncio.TaskGroup() as group:
        for number in range(50):
            group.create_task(records.remove_from_index(str(number)))
    assert sorted(map(int, await records.ids())) == list(range(50, 100))


async def test_a_key_that_others_always_change_first_is_given_up_with_what_to_do(store: StateStore):
    records = Records(store, SystemClock(), lambda: 0.0)
    await store.put("websocket-a", b'{"id":"a"}', None)

    async def lose(key: str, value: bytes, etag: str | None) -> None:
        raise RaceLostError("lost")

    store.put = lose  # type: ignore[method-assign]
    with pytest.raises(StoreError, match="changed by others 12 times in a row; try again"):
        await records.update("a", lambda record: record.changed(topic="t") if record else None)


async def test_a_record_that_is_wanted_again_is_not_deleted(store: StateStore):
    records = Records(store, SystemClock(), lambda: 0.0)
    await store.put("websocket-a", b'{"id":"a"}', None)
    assert not await records.delete("a", lambda record: False)
    assert not await records.delete("b", lambda record: True)
    await records.update_outbox("a", lambda outbox: outbox)
    assert await records.delete("a", lambda record: True)
    assert await store.get_many(["websocket-a", "websocket.outbox.a"]) == {}


@pytest.mark.parametrize("garbage", [b"{", b'{"a": 1}', b"[1]"])
async def test_a_garbage_index_is_named_and_left_alone(store: StateStore, garbage: bytes):
    records = Records(store, SystemClock(), lambda: 0.0)
    await store.put("websocket-index", garbage, None)
    with pytest.raises(GarbageRecordError, match="websocket-index is not a list of ids"):
        await records.add_to_index("a")
    stored = await store.get("websocket-index")
    assert stored is not None
    assert stored.value == garbage
