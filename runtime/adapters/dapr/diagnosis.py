"""How the dapr profile is, for `wsm doctor`, and whether handlers and host share their keys."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any
from uuid import uuid4

import grpc
import orjson
from dapr.proto.common.v1.common_pb2 import HTTPExtension, InvokeRequest, InvokeResponse
from dapr.proto.runtime.v1.invoke_pb2 import InvokeServiceRequest
from google.protobuf.any_pb2 import Any as AnyMessage

from runtime.adapters.dapr.channel import Sidecar
from runtime.adapters.dapr.probe import probe_store
from runtime.errors import ManagerError, PermanentError
from runtime.models.constants import DaprConstants
from runtime.models.events import JSON
from runtime.ports import Names, Observer, StateStore

ASK_EVERY_S = 2.0
LOOKS = 3  # a store that is only in the end consistent gets some time


@dataclass(frozen=True, slots=True)
class DaprDiagnosis:
    """Asks the sidecar of this process. `instance_id` is None for handlers alone."""

    sidecar: Sidecar
    names: Names
    mode: str
    instance_id: str | None

    async def about(self) -> dict[str, Any]:
        """What runs here."""
        return {
            "profile": "dapr",
            "mode": self.mode,
            "version": version("websocket-manager"),
            "sdk": version("dapr"),
            "instance": self.instance_id,
            "names": asdict(self.names),
        }

    async def probe_store(self) -> dict[str, Any]:
        """See `StoreFacts`. Raises StoreError."""
        facts = await probe_store(self.sidecar, self.names.statestore)
        return {"problems": facts.problems, "warnings": facts.warnings}


async def check_keys_are_shared(sidecar: Sidecar, store: StateStore, names: Names, observer: Observer) -> None:
    """Write a key, and ask the host's app for it as soon as that answers.

    Raises PermanentError when it does not see the key: each app would keep its own records, and no command would
    ever reach a socket.
    """
    key = DaprConstants.PROBE_PREFIX + uuid4().hex
    while True:
        try:
            await store.put(key, b"1", None)
            sees = [await _host_sees(sidecar, names, key)]
            while not sees[-1] and len(sees) < LOOKS:
                await asyncio.sleep(ASK_EVERY_S)
                sees.append(await _host_sees(sidecar, names, key))
        except (ManagerError, grpc.aio.AioRpcError):  # no host yet, or the store is away: the check can wait
            await asyncio.sleep(ASK_EVERY_S)
            continue
        finally:
            await _forget(store, key)
        if not sees[-1]:
            what = f"the app '{names.host_app_id}' does not see what this app writes to the state store"
            raise PermanentError(f"{what} '{names.statestore}': give the component keyPrefix 'name' or 'none'")
        observer.log("keys_are_shared", host=names.host_app_id)
        return


async def _host_sees(sidecar: Sidecar, names: Names, key: str) -> bool:
    """Raises grpc.aio.AioRpcError while no host answers."""
    message = InvokeRequest(
        method="seesKey",
        data=AnyMessage(value=orjson.dumps({"key": key})),
        content_type=JSON,
        http_extension=HTTPExtension(verb=HTTPExtension.Verb.POST),
    )
    request = InvokeServiceRequest(id=names.host_app_id, message=message)
    answer = await sidecar.call("InvokeService", request, InvokeResponse)
    return bool(orjson.loads(answer.data.value)["sees"])


async def _forget(store: StateStore, key: str) -> None:
    try:
        stored = await store.get(key)
        if stored is not None:
            await store.delete(key, stored.etag)
    except ManagerError:
        return  # one small key is left
