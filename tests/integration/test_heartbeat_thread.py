"""The lease on a thread of its own: what a busy main loop does to it, in real time, and the way to the sidecar."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import pytest

from runtime.adapters.clock import SystemClock
from runtime.adapters.dapr.store import DaprStore
from runtime.adapters.dapr.thread_channel import ThreadChannel
from runtime.adapters.memory.store import MemoryStore
from runtime.assembly import assemble
from runtime.errors import InstanceIdTakenError, StoreError
from runtime.guard import Guard
from runtime.host.place import own_thread
from runtime.models.instance import Instance
from runtime.ports import Limits
from runtime.records import Records
from runtime.resident import Heart, Resident
from tests.embedded import Observed
from tests.loops import on_both_loops
from tests.peers import until
from tests.processes import free_ports
from tests.unit.world import World

pytestmark = pytest.mark.integration

LIMITS = Limits(heartbeat_interval_s=0.1, lease_s=2, loop_stall_limit_s=5)


@asynccontextmanager
async def hosting(store: MemoryStore, observed: Observed) -> AsyncIterator[tuple[Resident, asyncio.Task[None]]]:
    """A host without connections whose lease is kept on a thread."""
    clock = SystemClock()
    ports = replace(World(LIMITS, store).manager.ports, clock=clock, observer=observed)
    me = Instance(id="me", incarnation="mine", started_at=clock.now(), read_until=clock.now())
    async with own_thread("heartbeat") as place:
        heart = Heart(place, store)
        manager = assemble(ports, LIMITS, Guard(allow_private=False), instance=me, shares_records=True, heart=heart)
        assert manager.resident is not None
        running = asyncio.create_task(manager.run())
        await until(lambda: "websocket.instance.me" in store.values and beats(store) > 1, "the thread beats")
        try:
            yield manager.resident, running
        finally:
            await manager.stop(running)


def beats(store: MemoryStore) -> int:
    lease: Instance = Instance.model_validate_json(store.values["websocket.instance.me"].value)
    return lease.beat


@on_both_loops
async def test_a_loop_that_is_blocked_for_less_than_the_limit_keeps_its_lease():
    store, observed = MemoryStore(), Observed()
    async with hosting(store, observed) as (resident, _):
        before = beats(store)
        time.sleep(LIMITS.lease_s + 0.4)  # longer than the lease: only another thread can have renewed it
        assert resident.lease.is_held()
        assert resident.lease.term == 1
        assert beats(store) > before
    assert observed.warnings == []


@on_both_loops
async def test_a_loop_that_is_blocked_for_longer_than_the_limit_loses_its_lease_and_gets_it_again():
    store, observed = MemoryStore(), Observed()
    async with hosting(store, observed) as (resident, _):
        time.sleep(LIMITS.loop_stall_limit_s + LIMITS.lease_s + 0.8)
        assert not resident.lease.is_held()
        await until(resident.lease.is_held, "the loop ticks, and the lease is renewed")
        assert resident.lease.term == 2
    assert [name for name, _ in observed.warnings] == ["loop_stalled"]
    assert ("loop_ticks_again", {}) in observed.logs


async def test_the_end_is_told_from_the_thread_too():
    store, observed = MemoryStore(), Observed()
    async with hosting(store, observed):
        pass
    assert Instance.model_validate_json(store.values["websocket.instance.me"].value).has_ended
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


async def test_a_host_that_was_replaced_learns_it_from_the_thread():
    store, observed = MemoryStore(), Observed()
    async with hosting(store, observed) as (resident, running):
        other = resident.lease.instance.model_copy(update={"incarnation": "of another"})
        with suppress(StoreError):
            await Records(store, SystemClock(), lambda: 0.5).change("websocket.instance.me", Instance, lambda _: other)
        await asyncio.wait({running}, timeout=10)
        assert isinstance(running.exception(), InstanceIdTakenError)
        assert not resident.lease.is_held()


async def test_what_is_cancelled_here_is_cancelled_there():
    ended = threading.Event()

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async with own_thread("other") as place:
        task = asyncio.create_task(place.run(work()))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(ended.wait, 5)


async def test_without_a_sidecar_the_channel_of_the_thread_says_so():
    (nobody,) = free_ports(1)
    channel = ThreadChannel(f"127.0.0.1:{nobody}", None)
    async with own_thread("other") as place:
        store = DaprStore(channel, "redis")
        for call in (store.get("k"), store.get_many(["k"]), store.put("k", b"1", None), store.delete("k", "1")):
            with pytest.raises(StoreError, match=f"the sidecar at 127.0.0.1:{nobody} cannot be reached"):
                await place.run(call)
    channel.close()
