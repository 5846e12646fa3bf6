"""What the store adapter makes of answers that are rare, and what the probe finds out about each store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import StateOptions
from dapr.proto.runtime.v1.state_pb2 import (
    BulkStateItem,
    DeleteStateRequest,
    GetBulkStateRequest,
    GetBulkStateResponse,
    GetStateRequest,
    GetStateResponse,
    SaveStateRequest,
)
from google.protobuf.empty_pb2 import Empty

from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.probe import KEY_PREFIX, StoreFacts, probe_store
from runtime.adapters.dapr.store import DaprStore
from runtime.errors import RaceLostError, StoreError
from tests.contract.sidecars import Prefixed
from tests.processes import free_ports

pytestmark = pytest.mark.integration


async def test_a_bulk_read_above_four_mebibytes_is_read_in_parts(channel: Channel):
    store = Prefixed(DaprStore(channel, "redis"))
    keys = [f"k{number}" for number in range(60)]
    for key in keys:
        await store.put(key, key.encode() * 30_000, None)
    found = await store.get_many([*keys, "absent"])
    assert {key: stored.value for key, stored in found.items()} == {key: key.encode() * 30_000 for key in keys}


async def test_a_value_that_alone_is_too_large_is_not_written(channel: Channel):
    store = Prefixed(DaprStore(channel, "redis"))
    with pytest.raises(StoreError, match="RESOURCE_EXHAUSTED"):
        await store.put("k", b"x" * 5_000_000, None)
    assert await store.get("k") is None


async def test_an_etag_that_redis_cannot_read_has_lost(channel: Channel):
    store = Prefixed(DaprStore(channel, "redis"))
    await store.put("k", b"1", None)
    with pytest.raises(RaceLostError, match="none of this store's"):
        await store.put("k", b"2", "nonsense")


async def test_a_store_that_is_not_there_is_named(channel: Channel):
    store = DaprStore(channel, "nowhere")
    with pytest.raises(StoreError, match="nowhere"):
        await store.get("k")
    with pytest.raises(StoreError, match="nowhere"):
        await store.put("k", b"1", "1")
    with pytest.raises(StoreError, match="nowhere"):
        await probe_store(channel, "nowhere")


async def test_without_a_sidecar_every_call_says_so():
    (nobody,) = free_ports(1)
    channel = Channel(f"127.0.0.1:{nobody}", None)
    store = DaprStore(channel, "redis")
    for call in (store.get("k"), store.get_many(["k"]), store.put("k", b"1", None), store.delete("k", "1")):
        with pytest.raises(StoreError, match=f"the sidecar at 127.0.0.1:{nobody} cannot be reached"):
            await call
    with pytest.raises(StoreError, match="cannot be reached"):
        await probe_store(channel, "redis")
    await channel.close()


@asynccontextmanager
async def answering(**methods: Callable[[Any], Any]) -> AsyncIterator[Channel]:
    """A sidecar that answers as it is told, as no store can be brought to."""

    def handler(answer: Callable[[Any], Any], request: Any) -> Any:
        async def call(asked: Any, _context: Any) -> Any:
            return answer(asked)

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=request.FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )

    handlers = {name: handler(answer, REQUESTS[name]) for name, answer in methods.items()}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("dapr.proto.runtime.v1.Dapr", handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    channel = Channel(f"127.0.0.1:{port}", None)
    try:
        yield channel
    finally:
        await channel.close()
        await server.stop(None)


REQUESTS = {
    "GetState": GetStateRequest,
    "GetBulkState": GetBulkStateRequest,
    "SaveState": SaveStateRequest,
    "DeleteState": DeleteStateRequest,
}


async def test_a_key_that_could_not_be_read_in_bulk_is_not_taken_for_absent():
    def partly(request: GetBulkStateRequest) -> GetBulkStateResponse:
        items = [BulkStateItem(key=key, data=b"1", etag="1") for key in request.keys[1:]]
        return GetBulkStateResponse(items=[BulkStateItem(key=request.keys[0], error="connection reset"), *items])

    async with answering(GetBulkState=partly) as channel:
        with pytest.raises(StoreError, match="could not read a: connection reset"):
            await DaprStore(channel, "redis").get_many(["a", "b"])


async def test_reads_are_strong_and_writes_are_first_write():
    asked: list[Any] = []

    def get(request: GetStateRequest) -> GetStateResponse:
        asked.append(request)
        return GetStateResponse()

    def write(request: Any) -> Empty:
        asked.append(request)
        return Empty()

    async with answering(GetState=get, SaveState=write, DeleteState=write) as channel:
        store = DaprStore(channel, "redis")
        assert await store.get("k") is None
        await store.put("k", b"1", None)
        await store.put("k", b"1", "7")
        await store.delete("k", "7")
    read, created, changed, deleted = asked
    assert read.consistency == StateOptions.StateConsistency.CONSISTENCY_STRONG
    assert not created.states[0].HasField("etag")
    assert changed.states[0].etag.value == deleted.etag.value == "7"
    for options in (created.states[0].options, changed.states[0].options, deleted.options):
        assert options.concurrency == StateOptions.StateConcurrency.CONCURRENCY_FIRST_WRITE
        assert options.consistency == StateOptions.StateConsistency.CONSISTENCY_STRONG


PROBED = {
    "redis": StoreFacts("INTERNAL", "OK", "ABORTED", "OK", etags_repeat=True, reads_in_bulk=True),
    "sqlite": StoreFacts("ABORTED", "ABORTED", "ABORTED", "ABORTED", etags_repeat=False, reads_in_bulk=True),
    "postgres": StoreFacts("INTERNAL", "INTERNAL", "ABORTED", "ABORTED", etags_repeat=False, reads_in_bulk=True),
    "dynamodb": StoreFacts("INTERNAL", "INTERNAL", "ABORTED", "ABORTED", etags_repeat=False, reads_in_bulk=True),
    "in-memory": StoreFacts("ABORTED", "ABORTED", "ABORTED", "ABORTED", etags_repeat=False, reads_in_bulk=True),
}


@pytest.mark.parametrize("kind", PROBED)
async def test_the_probe_finds_what_a_store_does(channel: Channel, kind: str):
    facts = await probe_store(channel, kind)
    assert facts == PROBED[kind]
    assert facts.problems == []
    assert len(facts.warnings) == (3 if kind == "redis" else 0)


async def test_the_probe_leaves_nothing_behind(channel: Channel, redis: Any):
    await probe_store(channel, "redis")
    reader, writer = await asyncio.open_connection("127.0.0.1", redis.port)
    writer.write(f"KEYS {KEY_PREFIX}*\r\n".encode())
    assert await reader.readline() == b"*0\r\n"
    writer.close()
    await writer.wait_closed()


def test_a_store_that_overwrites_is_not_fit():
    facts = StoreFacts("OK", "OK", "OK", "OK", etags_repeat=True, reads_in_bulk=False)
    assert len(facts.problems) == 3
