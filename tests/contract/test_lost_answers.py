"""A write that took effect, and was told to be lost: the answer did not come, and the sidecar tried again by itself."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest

from runtime.adapters.clock import SystemClock
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.store import DaprStore
from runtime.errors import RaceLostError
from runtime.records import Records
from tests.brokers import Broker
from tests.contract.sidecars import TABLE, aws, make_table, write_component
from tests.sidecar import Sidecar, running_sidecar

pytestmark = pytest.mark.integration


@dataclass
class Way:
    """Between the sidecar and DynamoDB: one request on a connection, and its answer."""

    port: int
    loses_next_write: bool = False
    lost: int = 0

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"(?i)content-length: *(\d+)", head)
            body = await reader.readexactly(int(found[1]) if found else 0)
            back.write(head.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n") + body)
            answer = await there.read(-1)
            if b"DynamoDB_20120810.PutItem" in head and self.loses_next_write:
                self.loses_next_write, self.lost = False, self.lost + 1
                return
            writer.write(answer)
            await writer.drain()
        finally:
            back.close()
            writer.close()


@asynccontextmanager
async def way_to(port: int) -> AsyncIterator[tuple[Way, int]]:
    """The way, and the port at which it begins."""
    way = Way(port)
    server = await asyncio.start_server(way.carry, "127.0.0.1", 0)
    try:
        yield way, server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_what_was_written_though_its_answer_was_lost_is_found_and_not_written_twice(moto: Broker, tmp_path: Path):
    make_table(moto)
    async with way_to(moto.port) as (way, port):
        (resources := tmp_path / "resources").mkdir()
        by_the_way = replace(moto, env=moto.env | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"})
        write_component(resources, "dynamodb", "state.aws.dynamodb", table=TABLE, keyPrefix="none", **aws(by_the_way))
        sidecar = Sidecar("lost-answers", resources, tmp_path, env={"AWS_EC2_METADATA_DISABLED": "true"})
        async with running_sidecar(sidecar):
            channel = Channel(f"127.0.0.1:{sidecar.grpc_port}", None)
            store = DaprStore(channel, "dynamodb")
            await store.put("lost", b"[0]", None)
            stored = await store.get("lost")
            assert stored is not None
            way.loses_next_write = True
            with pytest.raises(RaceLostError):
                await store.put("lost", b"[0,1]", stored.etag)
            found = await store.get("lost")
            assert found is not None
            assert found.value == b"[0,1]"

            way.loses_next_write = True
            decided = []

            def add(value: bytes | None) -> bytes | None:
                numbers = orjson.loads(value or b"[]")
                decided.append(numbers)
                return orjson.dumps([*numbers, 2]) if 2 not in numbers else None

            assert await Records(store, SystemClock(), random.random)._swap("lost", add) == b"[0,1,2]"
            assert decided == [[0, 1], [0, 1, 2]]
            assert way.lost == 2
            await channel.close()
