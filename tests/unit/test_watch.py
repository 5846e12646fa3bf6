"""Which hosts are taken for dead."""

from __future__ import annotations

import json

import pytest

from runtime.adapters.memory.store import MemoryStore
from runtime.errors import StoreError
from runtime.host.watch import Watch
from runtime.records import Records
from tests.virtual_time import FakeClock, virtual_time

LEASE_S = 15.0


class Leases:
    """A store in which hosts beat by hand."""

    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), FakeClock()
        self.watch = Watch(Records(self.store, self.clock, lambda: 0.5), self.clock, LEASE_S)
        self.beats: dict[str, int] = {}

    async def beat(self, id_: str, incarnation: str = "1", read_until: str = "2026-01-31T12:00:00Z") -> None:
        self.beats[id_] = self.beats.get(id_, 0) + 1
        lease = {
            "id": id_,
            "incarnation": incarnation,
            "beat": self.beats[id_],
            "startedAt": "1999-01-01T00:00:00Z",
            "readUntil": read_until,
        }
        await self._write(f"websocket.instance.{id_}", lease)
        await self._write("websocket.instances", {"ids": list(self.beats)})

    async def _write(self, key: str, value: object) -> None:
        stored = await self.store.get(key)
        await self.store.put(key, json.dumps(value).encode(), stored.etag if stored else None)

    async def pass_time(self, seconds: float) -> None:
        await self.clock.sleep(seconds)


@virtual_time
async def test_a_host_is_gone_when_the_same_beat_was_read_for_a_whole_lease():
    leases = Leases()
    await leases.beat("a")
    await leases.watch.look()
    assert not leases.watch.is_gone("a")
    await leases.pass_time(LEASE_S - 1)
    await leases.watch.look()
    assert not leases.watch.is_gone("a")
    await leases.pass_time(1)
    await leases.watch.look()
    assert leases.watch.is_gone("a")


@virtual_time
async def test_a_host_that_beats_lives_whatever_its_clock_says():
    leases = Leases()
    for _ in range(10):
        await leases.beat("a")
        await leases.pass_time(LEASE_S - 1)
        await leases.watch.look()
        assert not leases.watch.is_gone("a")


@virtual_time
async def test_time_in_which_nothing_was_read_proves_nothing():
    leases = Leases()
    await leases.beat("a")
    await leases.watch.look()

    async def away(operation: str, key: str) -> None:
        raise StoreError("away")

    leases.store.before = away
    await leases.pass_time(10 * LEASE_S)
    with pytest.raises(StoreError):
        await leases.watch.look()
    assert not leases.watch.is_gone("a")
    leases.store.before = None
    await leases.beat("a")
    await leases.watch.look()
    assert not leases.watch.is_gone("a")


@virtual_time
async def test_a_dead_host_that_comes_back_lives_again():
    leases = Leases()
    await leases.beat("a")
    await leases.watch.look()
    await leases.pass_time(LEASE_S)
    await leases.watch.look()
    assert leases.watch.is_gone("a")
    await leases.beat("a", incarnation="2")
    await leases.watch.look()
    assert not leases.watch.is_gone("a")


@virtual_time
async def test_an_owner_without_any_lease_is_gone_after_a_whole_lease_of_looking():
    leases = Leases()
    assert not leases.watch.is_gone("ghost")
    await leases.watch.look()
    await leases.pass_time(LEASE_S)
    assert not leases.watch.is_gone("ghost")
    await leases.watch.look()
    assert leases.watch.is_gone("ghost")
    assert leases.watch.last_word_of("ghost") is None


@virtual_time
async def test_the_last_word_of_a_dead_host_is_remembered():
    leases = Leases()
    await leases.beat("a", read_until="2026-01-31T12:00:01Z")
    await leases.watch.look()
    read_until = leases.watch.last_word_of("a")
    assert read_until is not None
    assert read_until.second == 1
    assert leases.watch.last_word_of("never heard of") is None


@virtual_time
async def test_a_garbage_lease_is_as_good_as_none_and_in_nobodys_way():
    leases = Leases()
    await leases.beat("a")
    await leases.beat("b")
    await leases._write("websocket.instance.a", "nonsense")
    await leases.watch.look()
    await leases.pass_time(LEASE_S)
    await leases.beat("b")
    await leases.watch.look()
    assert (leases.watch.is_gone("a"), leases.watch.is_gone("b")) == (True, False)
