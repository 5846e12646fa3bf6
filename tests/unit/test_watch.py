"""Which hosts are taken for dead, and which for living."""

from __future__ import annotations

import asyncio

import pytest

from runtime.errors import StoreError
from runtime.host.watch import KEPT_LEASES
from tests.unit.leases import BEAT_S, LEASE_S, Leases
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_host_is_gone_when_the_same_beat_was_read_for_a_whole_lease():
    leases = Leases()
    await leases.beat("a")
    assert await leases.look(LEASE_S - BEAT_S) == set()
    assert not leases.watch.is_gone("a")
    await leases.clock.sleep(BEAT_S)
    assert await leases.watch.look() == {"a"}
    assert leases.watch.is_gone("a")


@virtual_time
async def test_a_death_is_told_once():
    leases = Leases()
    await leases.beat("a")
    assert await leases.look(LEASE_S) == {"a"}
    assert await leases.look(LEASE_S) == set()
    await leases.beat("a", incarnation="2")
    assert await leases.look(LEASE_S) == {"a"}


@virtual_time
async def test_a_host_that_beats_lives_whatever_its_clock_says():
    leases = Leases()
    await leases.beat("a")
    assert await leases.look(10 * LEASE_S, "a") == set()
    assert not leases.watch.is_gone("a")


@virtual_time
async def test_a_host_that_says_that_it_has_ended_is_gone_at_once():
    leases = Leases()
    await leases.beat("a")
    await leases.watch.look()
    await leases.beat("a", hasEnded=True)
    assert await leases.watch.look() == {"a"}
    assert leases.watch.is_gone("a")


@virtual_time
async def test_after_an_outage_of_the_store_all_counts_begin_anew():
    leases = Leases()
    await leases.beat("a")
    await leases.look(LEASE_S - BEAT_S)
    leases.away()
    await leases.clock.sleep(2 * LEASE_S)
    with pytest.raises(StoreError):
        await leases.watch.look()
    leases.back()
    assert await leases.look(LEASE_S - BEAT_S) == set(), "it had no chance to beat"
    await leases.clock.sleep(BEAT_S)
    assert await leases.watch.look() == {"a"}


@virtual_time
async def test_one_failed_look_is_no_outage():
    leases = Leases()
    await leases.beat("a")
    await leases.look(BEAT_S)
    leases.away()
    with pytest.raises(StoreError):
        await leases.watch.look()
    leases.back()
    await leases.clock.sleep(BEAT_S)
    assert await leases.look(BEAT_S) == {"a"}


@virtual_time
async def test_an_answer_that_comes_late_is_as_old_as_its_question():
    """A look that hangs, or a process that is paused in it, has read what was there when it asked."""
    leases = Leases()
    await leases.beat("a")
    await leases.watch.look()
    await leases.clock.sleep(BEAT_S)
    hanging = asyncio.Event()

    async def slow(operation: str, key: str) -> None:
        if operation == "get":
            await hanging.wait()

    leases.store.before = slow
    looking = asyncio.create_task(leases.watch.look())
    await leases.clock.sleep(2 * LEASE_S)
    hanging.set()
    assert await looking == set()
    assert not leases.watch.is_gone("a")


@virtual_time
async def test_a_dead_host_that_comes_back_lives_again():
    leases = Leases()
    await leases.beat("a")
    await leases.look(LEASE_S)
    assert leases.watch.is_gone("a")
    await leases.beat("a", incarnation="2")
    await leases.watch.look()
    assert not leases.watch.is_gone("a")
    assert set(leases.watch.living()) == {"a"}


@virtual_time
async def test_an_owner_without_any_lease_is_gone_after_a_whole_lease_of_looking():
    leases = Leases()
    assert not leases.watch.is_gone("ghost")
    assert await leases.look(LEASE_S - BEAT_S) == set()
    assert not leases.watch.is_gone("ghost")
    await leases.clock.sleep(BEAT_S)
    assert not leases.watch.is_gone("ghost"), "time in which nothing was read proves nothing"
    assert await leases.watch.look() == {"ghost"}
    assert leases.watch.is_gone("ghost")
    assert leases.watch.last_word_of("ghost") is None


@virtual_time
async def test_who_is_named_nowhere_any_more_is_not_looked_for_for_ever():
    leases = Leases()
    leases.watch.is_gone("ghost")
    asked: list[str] = []

    async def note(operation: str, key: str) -> None:
        asked.append(key)

    leases.store.before = note
    await leases.look((KEPT_LEASES + 1) * LEASE_S)
    assert any("ghost" in keys for keys in asked)
    asked.clear()
    await leases.watch.look()
    assert not any("ghost" in keys for keys in asked)


@virtual_time
async def test_the_last_word_of_a_dead_host_is_remembered_even_without_its_lease():
    leases = Leases()
    await leases.beat("a", readUntil="2026-01-31T12:00:01Z")
    await leases.watch.look()
    stored = leases.store.values["websocket.instance.a"]
    await leases.store.delete("websocket.instance.a", stored.etag)
    await leases.watch.look()
    read_until = leases.watch.last_word_of("a")
    assert read_until is not None
    assert read_until.second == 1
    assert leases.watch.last_word_of("never heard of") is None


@virtual_time
async def test_an_id_on_the_list_that_no_host_can_have_is_in_nobodys_way():
    leases = Leases()
    await leases.beat("a")
    await leases.list("a||b", "a", "")
    asked: list[str] = []

    async def before(_: str, keys: str) -> None:
        asked.append(keys)

    leases.store.before = before
    await leases.look()
    assert asked == ["websocket.instances", "websocket.instance.a"]


@virtual_time
async def test_a_garbage_lease_is_as_good_as_none_and_in_nobodys_way():
    leases = Leases()
    await leases.beat("a")
    await leases.beat("b")
    await leases.write("websocket.instance.a", "nonsense")
    assert await leases.look(LEASE_S, "b") == {"a"}
    assert (leases.watch.is_gone("a"), leases.watch.is_gone("b")) == (True, False)


@virtual_time
async def test_only_who_was_seen_to_beat_is_living():
    leases = Leases()
    for id_ in ("me", "a", "dead"):
        await leases.beat(id_, load=3)
    await leases.watch.look()
    assert leases.watch.living() == {}, "a lease alone may be that of a host that died last week"
    await leases.look(BEAT_S, "me", "a")
    assert {id_: lease.incarnation for id_, lease in leases.watch.living().items()} == {"a": "1"}
    await leases.look(BEAT_S)
    assert set(leases.watch.living()) == {"a"}
    await leases.look(LEASE_S)
    assert leases.watch.living() == {}


@virtual_time
async def test_a_host_that_is_new_on_the_list_is_living():
    leases = Leases()
    await leases.watch.look()
    await leases.beat("a")
    await leases.watch.look()
    assert set(leases.watch.living()) == {"a"}


@virtual_time
async def test_an_outage_makes_nobody_less_living_and_no_dead_host_living():
    leases = Leases()
    await leases.beat("a")
    await leases.beat("dead")
    await leases.look(BEAT_S, "a", "dead")
    await leases.look(LEASE_S, "a")
    assert leases.watch.is_gone("dead")
    await leases.clock.sleep(LEASE_S)
    await leases.watch.look()
    assert not leases.watch.is_gone("dead"), "all counts begin anew"
    assert set(leases.watch.living()) == {"a"}


@virtual_time
async def test_who_drains_or_is_told_to_or_has_ended_is_not_offered_anything():
    leases = Leases()
    ids = ("a", "drains", "told", "ended")
    for id_ in ids:
        await leases.beat(id_)
    await leases.look(BEAT_S, *ids)
    assert set(leases.watch.living()) == set(ids)
    await leases.beat("drains", isDraining=True)
    await leases.beat("ended", hasEnded=True)
    await leases.list(*ids, draining=("told", "unknown"))
    await leases.watch.look()
    assert set(leases.watch.living()) == {"a"}
    assert leases.watch.told_to_drain("told")
    assert not leases.watch.told_to_drain("a")


@virtual_time
async def test_who_is_told_to_drain_is_told_at_every_look():
    leases = Leases()
    told: list[int] = []
    leases.watch.on_told_to_drain = lambda: told.append(1)
    await leases.list("me", "a", draining=("a",))
    await leases.watch.look()
    assert told == []
    await leases.list("me", "a", draining=("a", "me"))
    await leases.look(BEAT_S)
    assert len(told) == 2
