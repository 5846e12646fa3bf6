"""The Secrets port on a secret store component."""

from __future__ import annotations

import re

import grpc
from dapr.proto.runtime.v1.secret_pb2 import GetSecretRequest, GetSecretResponse

from runtime.adapters.dapr.channel import Sidecar, reason_of
from runtime.errors import NotFoundError, TransientError

# The code is INTERNAL for a secret that is not there and for a store that is away: only the text tells them apart.
_ABSENT = re.compile(r"not ?found|not configured|does not exist|failed finding secret store", re.IGNORECASE)
_NOT_ALLOWED = frozenset({grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.FAILED_PRECONDITION})


class DaprSecrets:
    """Reads one secret at a time and keeps none."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    async def secret(self, store: str, name: str) -> str:
        request = GetSecretRequest(store_name=store, key=name)
        try:
            found = await self._sidecar.call("GetSecret", request, GetSecretResponse)
        except grpc.aio.AioRpcError as error:
            reason = reason_of(error, self._sidecar, f"the secret store {store}")
            if error.code() in _NOT_ALLOWED or _ABSENT.search(error.details() or ""):
                raise NotFoundError(f"no secret {name} for us in {store}: {reason}") from None
            raise TransientError(reason) from None
        values: dict[str, str] = dict(found.data)
        if name in values:
            return values[name]
        if len(values) == 1:  # a store that names its value itself
            return next(iter(values.values()))
        raise NotFoundError(f"the secret {name} in {store} holds {len(values)} values, none of them named {name}")
