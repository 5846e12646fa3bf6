"""The channel to the sidecar: a token and a deadline on every call, and whether the sidecar is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar

import grpc
from dapr.proto.runtime.v1.metadata_pb2 import GetMetadataRequest, GetMetadataResponse
from google.protobuf.message import Message

from runtime.errors import PermanentError, SidecarAbsentError
from runtime.ports import Observer

A = TypeVar("A", bound=Message)

DEADLINE_S = 5.0
LOOK_EVERY_S = 0.3
LOOK_DEADLINE_S = 2.0  # a sidecar that hangs is told from a busy one by this
MAX_CALL_BYTES = 64 * 1024 * 1024  # ours: the sidecar's own limit (`max-body-size`, 4 MiB by default) is what counts

# A sidecar that comes back is used again within a second with these; with gRPC's defaults after up to 17 s (measured).
OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.min_reconnect_backoff_ms", 2_000),  # how long one attempt may take: 100 are too few on a busy machine
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_send_message_length", MAX_CALL_BYTES),
    ("grpc.max_receive_message_length", MAX_CALL_BYTES),
)
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAUTHENTICATED})


class Calls(Protocol):
    """Makes calls of the service `Dapr`."""

    address: str

    async def call(self, method: str, request: Message, answer: type[A], deadline_s: float = DEADLINE_S) -> A:
        """One unary call. Raises grpc.RpcError, which has a code and details."""


class Sidecar:
    """Makes calls. Building it neither blocks nor connects; it works again by itself when the sidecar is back.

    `is_reachable` is kept by `watch`: false until the first look, and within a second after death and return.
    """

    def __init__(self, address: str, token: str | None) -> None:
        self.address = address
        self.is_reachable = False
        self._metadata = (("dapr-api-token", token),) if token else ()
        self._channel = grpc.aio.insecure_channel(address, options=OPTIONS)
        self._methods: dict[str, Any] = {}

    async def call(self, method: str, request: Message, answer: type[A], deadline_s: float = DEADLINE_S) -> A:
        """See `Calls`."""
        call = self._methods.get(method)
        if call is None:
            call = self._methods[method] = method_on(self._channel, method, request, answer)
        answered: A = await call(request, timeout=deadline_s, metadata=self._metadata)
        return answered

    async def look(self, deadline_s: float = LOOK_DEADLINE_S) -> GetMetadataResponse:
        """What the sidecar says of itself. Raises grpc.aio.AioRpcError."""
        return await self.call("GetMetadata", GetMetadataRequest(), GetMetadataResponse, deadline_s)

    def why_not_reachable(self) -> str | None:
        """None while `is_reachable`."""
        return None if self.is_reachable else f"the sidecar at {self.address} does not answer"

    async def until_up(self, limit_s: float, observer: Observer) -> GetMetadataResponse:
        """Wait for the sidecar, and say so if it is not there at once; what it says of itself.

        Raises SidecarAbsentError after the limit, PermanentError when it refuses our token.
        """
        has_said = False
        try:
            async with asyncio.timeout(limit_s):
                while (found := await self._first_look()) is None:
                    if not has_said:
                        has_said = True
                        observer.log("waiting_for_sidecar", address=self.address, limit_s=limit_s)
                    await asyncio.sleep(LOOK_EVERY_S)
        except TimeoutError:
            what = f"no Dapr sidecar answered at {self.address} within {limit_s:g} s"
            raise SidecarAbsentError(f"{what}: start it, or set DAPR_GRPC_PORT to its port") from None
        self.is_reachable = True
        return found

    async def watch(self, observer: Observer, on_back: Callable[[], Awaitable[None]] | None = None) -> None:
        """Keep `is_reachable` until cancelled, with a line in the log for each change, and a call at each return."""
        while True:
            code = await self._code()
            is_reachable = code not in _AWAY
            if is_reachable != self.is_reachable:
                self.is_reachable = is_reachable
                if is_reachable:
                    observer.log("sidecar_back", address=self.address)
                    if on_back is not None:
                        await on_back()
                else:
                    observer.warn("sidecar_away", address=self.address, reason=code.name)
            await asyncio.sleep(LOOK_EVERY_S)

    async def close(self) -> None:
        """Let go of the connection."""
        await self._channel.close()

    async def _first_look(self) -> GetMetadataResponse | None:
        """None while it is away. Raises PermanentError when it will never do."""
        try:
            return await self.look()
        except grpc.aio.AioRpcError as error:
            if error.code() in _AWAY - {grpc.StatusCode.UNAUTHENTICATED}:
                return None
            raise PermanentError(reason_of(error, self, f"the sidecar at {self.address}")) from None

    async def _code(self) -> Any:
        """OK, or how a look ended."""
        try:
            await self.look()
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


def method_on(channel: Any, method: str, request: Message, answer: type[Message]) -> Any:
    """What calls a unary method of the service `Dapr` by a channel of either kind."""
    return channel.unary_unary(
        f"/dapr.proto.runtime.v1.Dapr/{method}",
        request_serializer=type(request).SerializeToString,
        response_deserializer=answer.FromString,
    )


_WRONG_TOKEN = "set DAPR_API_TOKEN to the one that it was started with"  # noqa: S105 - the advice, not a token


def reason_of(error: Any, sidecar: Calls, what: str) -> str:
    """Why a call failed, in words that a person can act on. `what` is who did not do its part, such as a component."""
    code, details = error.code(), error.details() or ""
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            return f"the sidecar at {sidecar.address} cannot be reached"
        case grpc.StatusCode.UNAUTHENTICATED:
            return f"the sidecar at {sidecar.address} refuses our token: {_WRONG_TOKEN}"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"{what} did not answer in time"
        case _:
            return f"{what} failed ({code.name}): {details}"
