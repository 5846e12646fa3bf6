"""What a state store does where stores differ, told by experiment."""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from dataclasses import dataclass
from uuid import uuid4

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

from runtime.adapters.dapr.channel import Sidecar, reason_of
from runtime.errors import StoreError
from runtime.models.constants import DaprConstants

KEY_PREFIX = DaprConstants.PROBE_PREFIX
OK = "OK"
_ANSWERS_OF_A_STORE = frozenset(
    {
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
    }
)


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """How a store answered. A code is gRPC's, `OK` where the write was taken.

    `create_over_ours`, `create_over_foreign`: create-only on a key that was made so, and on one that others saved
    plainly. `stale_etag`: a write with an etag that is no longer. `etag_of_absent`: a write with an etag of a key that
    is gone. `etags_repeat`: whether a key that is made again has the etags of its first life. `reads_in_bulk`:
    whether a bulk read finds what is there and leaves out what is not.
    """

    create_over_ours: str
    create_over_foreign: str
    stale_etag: str
    etag_of_absent: str
    etags_repeat: bool
    reads_in_bulk: bool

    @property
    def problems(self) -> list[str]:
        """Why connections may not be kept in this store; empty when they may."""
        found = []
        if self.create_over_ours == OK:
            found.append("it overwrites a key that is to be created only if it is absent")
        if self.stale_etag == OK:
            found.append("it takes a write with a stale etag")
        if not self.reads_in_bulk:
            found.append("its bulk read does not return what is stored")
        return found

    @property
    def warnings(self) -> list[str]:
        """What it does less well than others, and we can live with."""
        found = []
        if self.create_over_foreign == OK:
            found.append("a key that another service saved without first-write is overwritten by create-only")
        if self.etag_of_absent == OK:
            found.append("a write with an etag of a removed key creates it again")
        if self.etags_repeat:
            found.append("a key that is made again repeats the etags of its first life")
        return found


async def probe_store(sidecar: Sidecar, store: str) -> StoreFacts:
    """Try a store out under keys of its own, which are removed again. Raises StoreError when it cannot be asked."""
    probe = _Probe(sidecar, store, KEY_PREFIX + uuid4().hex)
    try:
        return await probe.run()
    except grpc.aio.AioRpcError as error:
        raise StoreError(reason_of(error, sidecar, f"the state store {store}")) from None
    finally:
        await probe.clean_up()


class _Probe:
    def __init__(self, sidecar: Sidecar, store: str, key: str) -> None:
        self._sidecar, self._store = sidecar, store
        self._ours, self._foreign, self._gone = f"{key}.ours", f"{key}.foreign", f"{key}.gone"

    async def run(self) -> StoreFacts:
        await self._save(self._ours)
        first = await self._etag(self._ours)
        create_over_ours = await self._code(self._save(self._ours))
        await self._save(self._ours, await self._etag(self._ours))
        stale_etag = await self._code(self._save(self._ours, first))

        await self._save(self._foreign, is_plain=True)
        create_over_foreign = await self._code(self._save(self._foreign))

        await self._save(self._gone)
        etag = await self._etag(self._gone)
        await self._delete(self._gone)
        etag_of_absent = await self._code(self._save(self._gone, etag))
        await self._delete(self._gone)
        await self._save(self._gone)
        etags_repeat = await self._etag(self._gone) == etag
        await self._delete(self._gone)
        return StoreFacts(
            create_over_ours, create_over_foreign, stale_etag, etag_of_absent, etags_repeat, await self._reads_in_bulk()
        )

    async def clean_up(self) -> None:
        for key in (self._ours, self._foreign, self._gone):
            with suppress(grpc.aio.AioRpcError):  # then what has failed before is worth saying, and a key is left
                await self._delete(key)

    async def _code(self, call: Awaitable[None]) -> str:
        """How the store answered; what is not its answer is raised."""
        try:
            await call
        except grpc.aio.AioRpcError as error:
            if error.code() not in _ANSWERS_OF_A_STORE:
                raise
            return str(error.code().name)
        return OK

    async def _save(self, key: str, etag: str | None = None, *, is_plain: bool = False) -> None:
        item = StateItem(key=key, value=b"1")
        if not is_plain:
            item.options.CopyFrom(StateOptions(concurrency=StateOptions.StateConcurrency.CONCURRENCY_FIRST_WRITE))
        if etag is not None:
            item.etag.CopyFrom(Etag(value=etag))
        await self._sidecar.call("SaveState", SaveStateRequest(store_name=self._store, states=[item]), Empty)

    async def _etag(self, key: str) -> str:
        consistency = StateOptions.StateConsistency.CONSISTENCY_STRONG
        request = GetStateRequest(store_name=self._store, key=key, consistency=consistency)
        return (await self._sidecar.call("GetState", request, GetStateResponse)).etag

    async def _delete(self, key: str) -> None:
        await self._sidecar.call("DeleteState", DeleteStateRequest(store_name=self._store, key=key), Empty)

    async def _reads_in_bulk(self) -> bool:
        keys = [self._ours, self._gone]
        request = GetBulkStateRequest(store_name=self._store, keys=keys, parallelism=2)
        answer = await self._sidecar.call("GetBulkState", request, GetBulkStateResponse)
        return {item.key for item in answer.items if item.etag and not item.error} == {self._ours}
