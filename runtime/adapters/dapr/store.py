"""The StateStore port on a state store component, by raw calls: the SDK knows no strong read and hides error codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import grpc
from dapr.proto.common.v1.common_pb2 import Etag, StateItem, StateOptions
from dapr.proto.runtime.v1.state_pb2 import (
    DeleteStateRequest,
    GetBulkStateRequest,
    GetBulkStateResponse,
    GetStateRequest,
    GetStateResponse,
    SaveStateRequest,
)
from google.protobuf.empty_pb2 import Empty

from runtime.adapters.dapr.channel import Calls, reason_of
from runtime.errors import RaceLostError, StoreError
from runtime.ports import Stored

_STRONG = StateOptions.StateConsistency.CONSISTENCY_STRONG
_FIRST_WRITE = StateOptions(concurrency=StateOptions.StateConcurrency.CONCURRENCY_FIRST_WRITE, consistency=_STRONG)
_PARALLEL_READS = 10
_CHUNK = 100  # so that a slow store, too, answers a bulk read within the deadline


class DaprStore:
    """Every write is first-write, with the etag or create-only.

    ABORTED means that the race was lost; on DynamoDB perhaps to this very write, which the sidecar tries again when its
    answer is lost. Any other failure leaves the write unknown, INTERNAL included: Redis, PostgreSQL and DynamoDB answer
    so to a create-only that lost, and to everything else too (measured).
    """

    def __init__(self, sidecar: Calls, store: str) -> None:
        self._sidecar, self._store = sidecar, store

    async def get(self, key: str) -> Stored | None:
        request = GetStateRequest(store_name=self._store, key=key, consistency=_STRONG)
        try:
            found = await self._sidecar.call("GetState", request, GetStateResponse)
        except grpc.RpcError as error:
            raise self._failed(error) from None
        return Stored(found.data, found.etag) if found.etag else None

    async def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """As the port, save that Dapr has no strong bulk read: what is decided on it is decided again after a `get`."""
        found: dict[str, Stored] = {}
        for start in range(0, len(keys), _CHUNK):
            found |= await self._get_chunk(keys[start : start + _CHUNK])
        return found

    async def put(self, key: str, value: bytes, etag: str | None) -> None:
        item = StateItem(key=key, value=value, options=_FIRST_WRITE)
        if etag is not None:
            item.etag.CopyFrom(_etag(etag))
        request = SaveStateRequest(store_name=self._store, states=[item])
        try:
            await self._sidecar.call("SaveState", request, Empty)
        except grpc.RpcError as error:
            raise self._failed(error, etag) from None

    async def delete(self, key: str, etag: str) -> None:
        request = DeleteStateRequest(store_name=self._store, key=key, etag=_etag(etag), options=_FIRST_WRITE)
        try:
            await self._sidecar.call("DeleteState", request, Empty)
        except grpc.RpcError as error:
            raise self._failed(error, etag) from None

    async def _get_chunk(self, keys: Sequence[str]) -> dict[str, Stored]:
        request = GetBulkStateRequest(store_name=self._store, keys=keys, parallelism=_PARALLEL_READS)
        try:
            found = await self._sidecar.call("GetBulkState", request, GetBulkStateResponse)
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED and len(keys) > 1:  # the answer is above 4 MiB
                middle = len(keys) // 2
                return await self._get_chunk(keys[:middle]) | await self._get_chunk(keys[middle:])
            raise self._failed(error) from None
        for item in found.items:
            if item.error:  # the call is OK and the data empty: without this look the key would seem absent
                raise StoreError(f"the state store {self._store} could not read {item.key}: {item.error}")
        return {item.key: Stored(item.data, item.etag) for item in found.items if item.etag}

    def _failed(self, error: Any, etag: str | None = None) -> RaceLostError | StoreError:
        code, details = error.code(), error.details() or ""
        if code is grpc.StatusCode.ABORTED:
            return RaceLostError("the key was changed by another writer")
        if code is grpc.StatusCode.INVALID_ARGUMENT and etag is not None and "etag" in details:  # Redis
            return RaceLostError("the etag is none of this store's")
        return StoreError(reason_of(error, self._sidecar, f"the state store {self._store}"))


def _etag(etag: str) -> Etag:
    """An empty etag would count as none: the write would be unconditional, or create."""
    if not etag:
        raise RaceLostError("the etag is none of this store's")
    return Etag(value=etag)
