"""What a host writes of its connections, and what a process without sockets reads of it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from runtime.adapters.memory.store import MemoryStore
from runtime.errors import StoreError
from runtime.host import vitals as module
from runtime.host.vitals import KEPT_S, StoredVitals, VitalsWriter
from runtime.models.constants import vitals_key
from tests.unit.world import World
from tests.virtual_time import virtual_time


def written_by(world: World) -> VitalsWriter:
    return VitalsWriter(world.host, world.records, world.clock, 10)


@virtual_time
async def test_a_process_without_sockets_reads_when_the_last_frame_came():
    async with World().running() as world:
        await world.resident.begin()
        socket = await world.connect()
        writer = written_by(world)
        await writer.write()
        socket.push("1", "2")
        await world.settle()
        reader = StoredVitals(world.records, world.clock)
        found = (await reader.look())(await world.record())
        assert found is not None
        assert found.last_frame_at is None
        await writer.write()
        assert (await reader.look())(await world.record()) == found, "kept for some seconds"
        await world.settle(KEPT_S)
        now = (await reader.look())(await world.record())
        assert now is not None
        assert now.last_frame_at is not None
        live = world.host.vitals("a")
        assert live is not None
        assert live.last_frame_at is not None
        assert abs((now.last_frame_at - live.last_frame_at).total_seconds()) < 0.002
        assert (now.sequence, now.unpublished, now.queued_messages, now.queued_bytes) == (2, 0, 0, 0)


@virtual_time
async def test_a_process_without_sockets_reads_how_many_frames_were_left_out():
    async with World().running() as world:
        await world.resident.begin()
        socket = await world.connect(options={"onlyText": True})
        socket.push("1", b"2", b"3")
        await world.settle()
        await written_by(world).write()
        found = (await StoredVitals(world.records, world.clock).look())(await world.record())
        assert found is not None
        assert (found.sequence, found.filtered) == (1, 2)


@virtual_time
async def test_vitals_of_another_epoch_or_of_another_host_are_not_told():
    async with World().running() as world:
        await world.resident.begin()
        await world.connect()
        await written_by(world).write()
        vitals_of = await StoredVitals(world.records, world.clock).look()
        record = await world.record()
        assert vitals_of(record) is not None
        assert vitals_of(record.model_copy(update={"epoch": record.epoch + 1})) is None
        assert vitals_of(record.model_copy(update={"instance_id": "other"})) is None
        assert vitals_of(record.model_copy(update={"instance_id": None})) is None


@virtual_time
async def test_many_connections_are_written_in_pages_and_read_as_one():
    size, module.PAGE_BYTES = module.PAGE_BYTES, 100
    try:
        async with World().running() as world:
            await world.resident.begin()
            for number in range(5):
                await world.connect(f"connection-{number}")
            await written_by(world).write()
            first = json.loads(world.store.values[vitals_key("me")].value)
            assert first["pages"] > 1
            vitals_of = await StoredVitals(world.records, world.clock).look()
            for number in range(5):
                assert vitals_of(await world.record(f"connection-{number}")) is not None
    finally:
        module.PAGE_BYTES = size


class Counting(MemoryStore):
    puts = 0

    async def put(self, key: str, value: bytes, etag: str | None) -> None:
        self.puts += key.startswith("websocket.vitals.")
        await super().put(key, value, etag)


@virtual_time
async def test_what_has_not_changed_is_not_written_again():
    store = Counting()
    async with World(store=store).running() as world:
        writer = written_by(world)
        await writer.write()
        assert store.puts == 0
        await world.connect()
        await writer.write()
        await writer.write()
        assert store.puts == 1


@virtual_time
async def test_garbage_under_the_key_hides_nothing_but_itself():
    async with World().running() as world:
        await world.resident.begin()
        await world.connect()
        await world.store.put(vitals_key("me"), b"[", None)
        assert (await StoredVitals(world.records, world.clock).look())(await world.record()) is None


@virtual_time
async def test_a_read_without_any_host_finds_nothing():
    async with World().running() as world:
        await world.connect()
        reader = StoredVitals(world.records, world.clock)
        assert (await reader.look())(await world.record()) is None


@virtual_time
async def test_a_store_that_is_away_is_said_and_tried_again():
    async with World().running() as world:
        await world.connect()
        is_away = True

        async def away(operation: str, key: str) -> None:
            if is_away and key.startswith("websocket.vitals."):
                raise StoreError("away")

        world.store.before = away
        writer = asyncio.create_task(written_by(world).run())
        await world.settle(15)
        assert vitals_key("me") not in world.store.values
        is_away = False
        await world.settle(15)
        assert vitals_key("me") in world.store.values
        writer.cancel()
        await asyncio.wait({writer})


@virtual_time
async def test_notes_are_shown_with_the_instances_and_garbage_is_not():
    async with World().running() as world:
        await world.resident.begin()

        async def notes() -> dict[str, object]:
            return {"cronAgeS": 1.0}

        await VitalsWriter(world.host, world.records, world.clock, 10, notes).write()
        assert [host["notes"] for host in await instances(world)] == [{"cronAgeS": 1.0}]
        stored = world.store.values[vitals_key("me")]
        await world.store.put(vitals_key("me"), b"[", stored.etag)
        assert [host["notes"] for host in await instances(world)] == [{}]


async def instances(world: World) -> list[dict[str, object]]:
    found: Any = await world.command("instances")
    return found
