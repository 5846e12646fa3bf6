"""The index under ten processes that share nothing but the store: no id is lost, and none is kept."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Awaitable, Callable
from uuid import uuid4

import pytest

from runtime.adapters.clock import SystemClock
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.store import DaprStore
from runtime.errors import StoreError
from runtime.records import Records
from tests.contract.sidecars import Prefixed
from tests.sidecar import Sidecar

WRITERS, EACH, IN_FLIGHT = 10, 500, 20


def ids_of(writer: int) -> list[str]:
    return [f"{writer}.{number}" for number in range(EACH)]


def is_kept(id_: str) -> bool:
    return int(id_.partition(".")[2]) % 2 == 0


def records_of(channel: Channel, prefix: str, shards: int) -> Records:
    return Records(Prefixed(DaprStore(channel, "redis"), prefix), SystemClock(), random.random, shards)


@pytest.mark.parametrize("shards", [1, 16])
async def test_ten_processes_add_and_remove_ids_at_once(stores_sidecar: Sidecar, channel: Channel, shards: int):
    prefix = f"{uuid4().hex}."
    command = [sys.executable, "-m", "tests.contract.test_index", str(stores_sidecar.grpc_port), prefix, str(shards)]
    processes = [await asyncio.create_subprocess_exec(*command, str(writer)) for writer in range(WRITERS)]
    try:
        async with asyncio.timeout(120):
            assert [await process.wait() for process in processes] == [0] * WRITERS
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    expected = [id_ for writer in range(WRITERS) for id_ in ids_of(writer) if is_kept(id_)]
    assert sorted(await records_of(channel, prefix, shards).ids()) == sorted(expected)


async def add_and_remove(records: Records, ids: list[str]) -> None:
    in_flight = asyncio.Semaphore(IN_FLIGHT)

    async def one(id_: str) -> None:
        async with in_flight:
            await until_done(records.add_to_index, id_)
            if not is_kept(id_):
                await until_done(records.remove_from_index, id_)

    async with asyncio.TaskGroup() as group:
        for id_ in ids:
            group.create_task(one(id_))


async def until_done(change: Callable[[str], Awaitable[None]], id_: str) -> None:
    """As whoever sent the command does: what may work later is delivered again."""
    while True:
        try:
            await change(id_)
        except StoreError as error:
            assert "changed by others" in str(error)  # noqa: PT017
        else:
            return


async def _main(port: int, prefix: str, shards: int, writer: int) -> None:
    channel = Channel(f"127.0.0.1:{port}", None)
    await add_and_remove(records_of(channel, prefix, shards), ids_of(writer))
    await channel.close()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
