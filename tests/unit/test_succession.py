"""A start under an id that another process has had, or has."""

from __future__ import annotations

import asyncio
import json

import pytest

from runtime.assembly import Manager, assemble
from runtime.errors import InstanceIdTakenError, StoreError
from runtime.guard import Guard
from runtime.models.instance import Instance
from runtime.ports import Limits
from tests.unit.leases import BEAT_S, LEASE_S, Leases
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time

LIMITS = Limits(heartbeat_interval_s=BEAT_S, lease_s=LEASE_S)


class Start:
    """A process that shares its records with others, on the store of `leases`."""

    def __init__(self, leases: Leases, incarnation: str = "mine") -> None:
        world = self.world = World(LIMITS, leases.store)
        start = world.clock.start
        me = Instance(id="me", incarnation=incarnation, started_at=start, read_until=start)
        ports = world.manager.ports
        self.manager: Manager = assemble(ports, LIMITS, Guard(allow_private=False), instance=me, shares_records=True)
        assert self.manager.resident is not None
        self.resident = self.manager.resident
        self.running = asyncio.create_task(self.manager.run())

    async def stop(self) -> None:
        await self.manager.stop(self.running)


@virtual_time
async def test_without_a_predecessor_nothing_is_waited_for():
    start = Start(Leases())
    await asyncio.sleep(0.01)
    assert start.resident.lease.is_held()
    await start.stop()


@virtual_time
async def test_a_predecessor_that_died_is_waited_for_until_its_lease_is_dead_and_says_why():
    leases = Leases()
    await leases.beat("me", "before", readUntil="2025-12-31T23:59:00Z")
    start = Start(leases)
    await asyncio.sleep(LEASE_S - 0.1)
    assert not start.resident.lease.has_begun
    assert start.resident.why_not_ready() == (
        "waiting until the lease of the process before this one under the id 'me' is 15 s old"
    )
    await asyncio.sleep(0.2)
    assert start.resident.lease.is_held()
    assert start.resident.why_not_ready() is None
    read_until = start.resident.host.inheritance.read_until
    assert read_until is not None
    assert read_until.isoformat() == "2025-12-31T23:59:00+00:00"
    await start.stop()


@virtual_time
async def test_a_predecessor_that_ended_in_order_is_not_waited_for():
    leases = Leases()
    first = Start(leases, "1")
    await asyncio.sleep(0.01)
    await first.stop()
    assert json.loads(leases.store.values["websocket.instance.me"].value)["hasEnded"]
    second = Start(leases, "2")
    await asyncio.sleep(0.01)
    assert second.resident.lease.is_held()
    await second.stop()


@virtual_time
async def test_a_second_process_with_the_same_id_refuses_to_start_and_the_first_goes_on():
    leases = Leases()
    first = Start(leases, "1")
    await asyncio.sleep(BEAT_S * 1.5)
    second = Start(leases, "2")
    await asyncio.wait({second.running}, timeout=3 * LEASE_S)
    error = second.running.exception()
    assert isinstance(error, InstanceIdTakenError)
    assert str(error) == (
        "another process runs under the instance id 'me': give each process a WSM_INSTANCE_ID of its own"
    )
    await second.stop()
    await asyncio.sleep(LEASE_S)
    assert first.resident.lease.is_held()
    assert json.loads(leases.store.values["websocket.instance.me"].value)["incarnation"] == "1"
    await first.stop()


@virtual_time
async def test_a_host_that_finds_another_under_its_id_ends_and_closes_its_sockets():
    leases = Leases()
    start = Start(leases)
    await asyncio.sleep(0.01)
    await start.manager.dispatch.invoke("connect", json.dumps({"id": "a", "url": URL, "autoReconnect": True}).encode())
    start.resident.host.nudge("a")
    await asyncio.sleep(1)
    assert [socket.is_open for socket in start.world.dialer.sockets] == [True]
    await leases.beat("me", "of another")
    await asyncio.wait({start.running}, timeout=2 * BEAT_S)
    with pytest.raises(InstanceIdTakenError):
        await start.running
    await start.stop()
    assert [socket.is_open for socket in start.world.dialer.sockets] == [False]
    assert json.loads(leases.store.values["websocket.instance.me"].value)["incarnation"] == "of another"


@virtual_time
async def test_commands_are_taken_while_the_host_waits_and_done_afterwards():
    leases = Leases()
    await leases.beat("me", "before")
    start = Start(leases)
    await asyncio.sleep(1)
    body = json.dumps({"id": "a", "url": URL, "autoReconnect": True}).encode()
    outcome = json.loads(await start.manager.dispatch.invoke("connect", body))
    assert outcome["status"] == "accepted"
    start.resident.host.nudge("a")
    leases.away()
    await start.resident.tick()  # does not even ask the store
    leases.back()
    await asyncio.sleep(LEASE_S - 2)
    assert start.world.dialer.sockets == []
    await asyncio.sleep(3)
    assert len(start.world.dialer.sockets) == 1
    await start.stop()


@virtual_time
async def test_a_stop_while_it_waits_says_nothing_in_the_name_of_the_other():
    leases = Leases()
    await leases.beat("me", "before")
    start = Start(leases)
    await asyncio.sleep(1)
    await start.stop()
    lease = json.loads(leases.store.values["websocket.instance.me"].value)
    assert (lease["incarnation"], lease["beat"]) == ("before", 1)


@virtual_time
async def test_a_store_that_is_away_at_the_start_is_waited_for():
    leases = Leases()
    await leases.beat("me", "before", hasEnded=True)
    leases.away()
    start = Start(leases)
    await asyncio.sleep(10)
    assert not start.running.done()
    leases.back()
    await asyncio.sleep(2)
    assert start.resident.lease.is_held()
    await start.stop()


@virtual_time
async def test_a_store_that_takes_no_first_beat_is_tried_again():
    leases = Leases()

    async def read_only(operation: str, key: str) -> None:
        if operation == "put":
            raise StoreError("read only")

    leases.store.before = read_only
    start = Start(leases)
    await asyncio.sleep(10)
    assert not start.running.done()
    leases.back()
    await asyncio.sleep(2)
    assert start.resident.lease.is_held()
    await start.stop()


@virtual_time
async def test_a_wish_to_drain_that_was_meant_for_the_process_before_is_not_ours():
    leases = Leases()
    await leases.beat("me", "before")
    await leases.list("me", draining=("me",))
    start = Start(leases)
    await asyncio.sleep(LEASE_S + BEAT_S)
    assert start.resident.lease.is_held()
    assert not start.resident.host.is_draining
    await start.stop()


@virtual_time
async def test_two_that_wait_for_the_same_dead_process_do_not_both_begin():
    leases = Leases()
    await leases.beat("me", "before")
    starts = [Start(leases, "1"), Start(leases, "2")]
    await asyncio.sleep(2 * LEASE_S)
    assert [type(start.running.exception()) for start in starts if start.running.done()] == [InstanceIdTakenError]
    assert sum(start.resident.lease.is_held() for start in starts) == 1
    for start in starts:
        await start.stop()
