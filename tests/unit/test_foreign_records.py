"""Records that other services have written or spoilt: none stops the manager, none is damaged."""

from __future__ import annotations

import json

import pytest

from runtime.adapters.memory.store import MemoryStore
from runtime.ports import Limits, Stored
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time


def spoil(store: MemoryStore, key: str, **fields: object) -> None:
    stored = store.values[key]
    store.values[key] = Stored(json.dumps({**json.loads(stored.value), **fields}).encode(), stored.etag)


@virtual_time
async def test_a_status_that_another_service_has_written_gives_way_to_the_owners():
    async with World().running() as world:
        socket = await world.connect()
        spoil(world.store, "websocket-a", status=0)
        socket.lose()
        await world.settle(3)
        assert (await world.record()).status.label == "Connected"
        assert not any(task.done() for task in world.host._tasks.values())
        await world.connect("b")  # the writer still works
        assert (await world.record("b")).status.label == "Connected"


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "another"},
        {"id": ""},
        {"createdAt": "0001-01-01T00:00:00+05:00"},
        {"updatedAt": "9999-12-31T23:59:59-05:00"},
        {"more": json.loads("[" * 300 + "]" * 300)},
    ],
)
def test_a_record_that_cannot_be_kept_is_quarantined_and_dialled_never_twice(fields):
    @virtual_time
    async def run():
        world = World()
        await world.command("connect", id="a", url=URL, autoReconnect=True)
        spoil(world.store, "websocket-a", **fields)
        before = world.store.values["websocket-a"]
        world.host.agenda._waiting.clear()
        async with world.running():
            for _ in range(3):
                await world.sweep()
                await world.settle(1)
            assert world.dialer.sockets == []
            assert world.store.values["websocket-a"] == before
            assert [event for event, _ in world.observer.warnings] == ["record_quarantined"]
            outcome = await world.command("reconnect", id="a")
            assert outcome["status"] == "rejected"
            assert "websocket-a" in outcome["reason"]

    run()


@virtual_time
async def test_a_command_on_a_garbage_record_ends_as_rejected_and_as_a_dead_letter():
    async with World().running() as world:
        await world.connect()
        world.store.values["websocket-a"] = Stored(b"[]", "1")
        outcome = await world.dispatch.deliver(b'{"command":"setTags","id":"a","tags":{},"commandId":"c"}')
        assert (outcome.status, outcome.command_id) == ("rejected", "c")
        await world.settle()
        assert len(await world.dead_letters.read()) == 1


@virtual_time
async def test_a_tombstone_whose_outbox_is_written_to_meanwhile_is_purged_later_and_stops_nobody():
    world = World(Limits(tombstone_ttl_s=1))
    await world.command("disconnect", id="a")

    async def interfere(operation: str, key: str) -> None:
        if operation == "delete":
            world.store.before = None
            world.store.values["websocket.outbox.a"] = Stored(b"{}", "of another writer")

    world.store.values["websocket.outbox.a"] = Stored(b"{}", "first")
    async with world.running():
        await world.settle(2)
        world.store.before = interfere
        await world.sweep()
        await world.settle()
        assert "websocket-a" in world.store.values
        await world.sweep()
        await world.settle()
        assert "websocket-a" not in world.store.values
        assert "websocket.outbox.a" not in world.store.values


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
@virtual_time
async def test_a_time_outside_the_calendar_is_rejected(time: str):
    outcome = await World().command("disconnect", id="a", issuedAt=time)
    assert (outcome["status"], "issuedAt" in outcome["reason"]) == ("rejected", True)


@virtual_time
async def test_a_command_that_is_nested_too_deeply_is_rejected():
    world = World()
    options = {"more": json.loads("[" * 300 + "]" * 300)}
    assert (await world.command("connect", id="a", url=URL, options=options))["status"] == "rejected"
    assert "websocket-a" not in world.store.values
