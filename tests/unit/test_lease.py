"""The lease of a host: what its beats tell, when it is held, and whose lease it never overwrites."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from runtime.errors import InstanceIdTakenError, StoreError
from runtime.host.lease import Account, Lease
from runtime.models.instance import Instance
from runtime.records import Records
from tests.unit.leases import BEAT_S, LEASE_S, Leases
from tests.unit.world import Quiet, World
from tests.virtual_time import virtual_time

STALL_S = 60.0


class Holder:
    """A lease in a store, and the host that it tells of."""

    def __init__(self, leases: Leases, incarnation: str = "mine") -> None:
        self.leases, self.observer = leases, Quiet()
        self.ticked_at: float | None = None  # as long as the loop stands still
        clock = leases.clock
        instance = Instance(id="me", incarnation=incarnation, started_at=clock.start, read_until=clock.start)
        records = Records(leases.store, clock, lambda: 0.5)
        self.lease = Lease(instance, records, clock, self.observer, BEAT_S, LEASE_S, STALL_S, self.account)

    def account(self) -> Account:
        now = self.leases.clock.monotonic()
        return Account(7, self.leases.clock.now(), False, now if self.ticked_at is None else self.ticked_at)

    @property
    def stored(self) -> dict[str, Any]:
        return json.loads(self.leases.store.values["websocket.instance.me"].value)

    @property
    def listed(self) -> dict[str, Any]:
        return json.loads(self.leases.store.values["websocket.instances"].value)


@virtual_time
async def test_a_beat_tells_what_the_host_holds_and_may_hold():
    async with World().running() as world:
        await world.resident.begin()
        await world.connect()
        await world.settle(1)
        await world.resident.lease.beat()
        lease = json.loads(world.store.values["websocket.instance.me"].value)
        assert (lease["load"], lease["maxConnections"], lease["isDraining"], lease["hasEnded"]) == (
            1,
            world.limits.max_connections,
            False,
            False,
        )
        assert lease["beat"] == 2
        assert lease["beatAt"] == "2026-01-01T00:00:01.200000Z"
        world.host.is_draining = True
        await world.resident.lease.beat()
        assert json.loads(world.store.values["websocket.instance.me"].value)["isDraining"]


@virtual_time
async def test_a_lease_is_held_for_its_time_from_the_moment_at_which_the_renewal_was_sent():
    holder = Holder(Leases())
    assert not holder.lease.is_held()

    async def slow(operation: str, key: str) -> None:
        if operation == "put" and key == "websocket.instance.me":
            await asyncio.sleep(4)

    holder.leases.store.before = slow
    await holder.lease.begin()
    assert holder.lease.is_held()
    await asyncio.sleep(LEASE_S - 4.01)
    assert holder.lease.is_held()
    await asyncio.sleep(0.01)
    assert not holder.lease.is_held()


@virtual_time
async def test_the_term_rises_when_the_lease_is_renewed_after_it_was_not_held():
    holder = Holder(Leases())
    assert holder.lease.term == 0
    await holder.lease.begin()
    assert holder.lease.term == 1
    await asyncio.sleep(LEASE_S - 0.1)
    await holder.lease.beat()
    assert holder.lease.term == 1
    await asyncio.sleep(LEASE_S)
    assert holder.lease.term == 1
    await holder.lease.beat()
    assert (holder.lease.term, holder.lease.is_held()) == (2, True)


@virtual_time
async def test_a_renewal_that_ran_out_before_it_was_answered_is_a_new_term_too():
    """The process is paused while its renewal is on its way."""
    holder = Holder(Leases())
    await holder.lease.begin()
    await asyncio.sleep(LEASE_S - 1)

    async def slow(operation: str, key: str) -> None:
        if operation == "put":
            await asyncio.sleep(2)

    holder.leases.store.before = slow
    await holder.lease.beat()
    assert (holder.lease.term, holder.lease.is_held()) == (2, True)


@virtual_time
async def test_a_write_that_hangs_is_given_up_for_a_newer_one():
    holder = Holder(Leases())
    await holder.lease.begin()
    hangs = True

    async def hang(operation: str, key: str) -> None:
        if hangs:
            await asyncio.Event().wait()

    holder.leases.store.before = hang
    began = holder.leases.clock.monotonic()
    with pytest.raises(StoreError, match="not written within 5 s"):
        await holder.lease.beat()
    assert holder.leases.clock.monotonic() - began == LEASE_S / 3
    hangs = False
    await holder.lease.beat()
    assert holder.lease.renewed_at == holder.leases.clock.monotonic()


@virtual_time
async def test_after_a_failed_beat_the_next_one_comes_soon():
    holder = Holder(Leases())
    await holder.lease.begin()
    running = asyncio.create_task(holder.lease.run())
    await asyncio.sleep(BEAT_S - 1)
    holder.leases.away()
    await asyncio.sleep(8)
    assert {name for name, _ in holder.observer.warnings} == {"heartbeat_failed"}
    holder.leases.back()
    before = holder.stored["beat"]
    await asyncio.sleep(4)
    assert holder.stored["beat"] > before
    assert (holder.lease.is_held(), holder.lease.term) == (True, 1)
    await stop(running)


@virtual_time
async def test_a_beat_never_overwrites_the_lease_of_another_process():
    holder = Holder(Leases())
    await holder.lease.begin()
    await holder.leases.beat("me", "of another")
    with pytest.raises(InstanceIdTakenError, match="'me': give each process a WSM_INSTANCE_ID of its own"):
        await holder.lease.beat()
    assert holder.stored["incarnation"] == "of another"
    assert not holder.lease.is_held()
    await holder.lease.end()
    assert holder.stored["incarnation"] == "of another", "the last word is not ours either"


@virtual_time
async def test_a_process_that_was_replaced_while_it_was_paused_stops_at_its_next_beat():
    holder = Holder(Leases())
    await holder.lease.begin()
    running = asyncio.create_task(holder.lease.run())
    await holder.leases.beat("me", "of another")
    await asyncio.sleep(BEAT_S)
    await asyncio.wait({running}, timeout=1)
    assert isinstance(running.exception(), InstanceIdTakenError)


@virtual_time
async def test_only_the_very_lease_that_was_found_dead_is_replaced():
    leases = Leases()
    await leases.beat("me", "before")
    before = await Holder(leases).lease.predecessor()
    await leases.beat("me", "before")
    with pytest.raises(InstanceIdTakenError):
        await Holder(leases).lease.begin(before)
    before = await Holder(leases).lease.predecessor()
    holder = Holder(leases)
    await holder.lease.begin(before)
    assert holder.stored["incarnation"] == "mine"


@virtual_time
async def test_of_two_processes_that_begin_under_one_id_at_the_same_time_one_is_refused():
    leases = Leases()
    results = [asyncio.create_task(Holder(leases, incarnation).lease.begin()) for incarnation in ("1", "2")]
    await asyncio.wait(results)
    assert [type(result.exception()) for result in results] == [type(None), InstanceIdTakenError]


@virtual_time
async def test_a_beat_that_was_written_though_the_store_said_no_is_recognised():
    holder = Holder(Leases())
    await holder.lease.begin()
    put = holder.leases.store.put

    async def putting(key: str, value: bytes, etag: str | None) -> None:
        await put(key, value, etag)
        holder.leases.store.put = put  # type: ignore[method-assign]
        raise StoreError("written, but nobody is told so")

    holder.leases.store.put = putting  # type: ignore[method-assign]
    await holder.lease.beat()
    assert (holder.stored["beat"], holder.lease.is_held()) == (2, True)


@virtual_time
async def test_a_clean_end_says_so_with_the_last_beat():
    holder = Holder(Leases())
    await holder.lease.end()
    assert "websocket.instance.me" not in holder.leases.store.values, "who has not begun has nothing to end"
    await holder.lease.begin()
    assert not holder.stored["hasEnded"]
    await holder.lease.end()
    assert (holder.stored["hasEnded"], holder.stored["beat"]) == (True, 2)
    assert not holder.lease.is_held()


@virtual_time
async def test_a_fresh_start_is_listed_and_no_longer_told_to_drain():
    leases = Leases()
    await leases.list("a", "me", draining=("a", "me"))
    holder = Holder(leases)
    await holder.lease.begin()
    assert holder.listed == {"ids": ["a", "me"], "draining": ["a"]}
    await leases.list("a", "me", draining=("me",))
    await holder.lease.beat()
    assert holder.listed["draining"] == ["me"], "it is told so now, and not before it started"


@virtual_time
async def test_a_host_that_was_forgotten_while_it_was_paused_lists_itself_again():
    holder = Holder(Leases())
    await holder.lease.begin()
    stored = holder.leases.store.values["websocket.instance.me"]
    await holder.leases.store.delete("websocket.instance.me", stored.etag)
    await holder.leases.list("a")
    await holder.lease.beat()
    await holder.lease.beat()
    assert holder.listed["ids"] == ["a", "me"]
    assert holder.stored["beat"] == 3


@virtual_time
async def test_a_loop_that_stands_still_for_too_long_loses_the_lease_until_it_ticks_again():
    holder = Holder(Leases())
    await holder.lease.begin()
    running = asyncio.create_task(holder.lease.run())
    holder.ticked_at = holder.leases.clock.monotonic()
    await asyncio.sleep(STALL_S)
    assert (holder.lease.is_held(), holder.lease.term) == (True, 1)
    await asyncio.sleep(LEASE_S + 1)
    beats = holder.stored["beat"]
    assert not holder.lease.is_held()
    assert [name for name, _ in holder.observer.warnings] == ["loop_stalled"], "it is said once"
    await asyncio.sleep(LEASE_S)
    assert holder.stored["beat"] == beats
    holder.ticked_at = None
    await asyncio.sleep(BEAT_S)
    assert (holder.lease.is_held(), holder.lease.term) == (True, 2)
    await stop(running)


async def stop(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.wait({running})
