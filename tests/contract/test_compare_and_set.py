"""The one compare-and-set under eight writers that share nothing but the store."""

from __future__ import annotations

import asyncio
import random
import sys

import pytest

from runtime.adapters.clock import SystemClock
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.store import DaprStore
from runtime.models.connection import WebSocketConnection
from runtime.records import Records
from tests.contract.numbers import add, added
from tests.contract.sidecars import STORES, Prefixed
from tests.sidecar import Sidecar

WRITERS, EACH = 8, 25


async def write(store: Prefixed | DaprStore, key: str, writer: int) -> None:
    """Add the numbers of a writer."""
    records = Records(store, SystemClock(), random.random)
    for number in range(writer * EACH, (writer + 1) * EACH):
        await add(records, key, number)


@pytest.mark.parametrize("kind", STORES)
async def test_of_eight_writers_each_has_its_numbers_in_once(stores_sidecar: Sidecar, kind: str):
    channels = [Channel(f"127.0.0.1:{stores_sidecar.grpc_port}", None) for _ in range(WRITERS)]
    first = Prefixed(DaprStore(channels[0], kind))
    async with asyncio.TaskGroup() as group:
        for writer, channel in enumerate(channels):
            group.create_task(write(first.on(DaprStore(channel, kind)), "n", writer))
    found = await added(first, "n")
    for channel in channels:
        await channel.close()
    assert found == list(range(WRITERS * EACH))


async def test_of_eight_processes_each_has_its_numbers_in_once(stores_sidecar: Sidecar, channel: Channel):
    key = f"{random.random()}"
    command = [sys.executable, "-m", "tests.contract.test_compare_and_set", str(stores_sidecar.grpc_port), key]
    processes = [await asyncio.create_subprocess_exec(*command, str(writer)) for writer in range(WRITERS)]
    try:
        async with asyncio.timeout(120):
            assert [await process.wait() for process in processes] == [0] * WRITERS
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert await added(DaprStore(channel, "redis"), key) == list(range(WRITERS * EACH))


async def test_two_records_that_are_created_at_once_are_one(stores_sidecar: Sidecar, channel: Channel):
    store = Prefixed(DaprStore(channel, "postgres"))
    made: list[WebSocketConnection] = []

    async def create(owner: str) -> None:
        records = Records(store, SystemClock(), random.random)
        now = SystemClock().now()
        record = await records.update(
            "a", lambda found: found or WebSocketConnection.create("a", now).changed(topic=owner)
        )
        assert record is not None
        made.append(record)

    async with asyncio.TaskGroup() as group:
        for owner in "abcdefgh":
            group.create_task(create(owner))
    assert len({record.topic for record in made}) == 1


async def _main(port: int, key: str, writer: int) -> None:
    channel = Channel(f"127.0.0.1:{port}", None)
    await write(DaprStore(channel, "redis"), key, writer)
    await channel.close()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
