"""A tombstone that is written while the one before is purged is in the index all the same."""

from __future__ import annotations

from tests.unit.world import World
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_disconnect_puts_the_id_back_that_a_purge_takes_out_of_the_index_meanwhile():
    world = World()
    records = world.records

    async def purging(operation: str, key: str) -> None:
        if (operation, key) == ("put", "websocket-a"):
            world.store.before = None
            await records.remove_from_index("a")  # the record is not there yet

    await records.add_to_index("a")
    world.store.before = purging
    await world.command("disconnect", id="a")
    record = await world.record("a")
    assert record.is_removed
    assert await records.ids() == ["a"]
