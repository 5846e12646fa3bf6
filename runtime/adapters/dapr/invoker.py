"""The Invoker port: service invocation by the sidecar."""

from __future__ import annotations

import grpc
from dapr.proto.common.v1.common_pb2 import HTTPExtension, InvokeRequest, InvokeResponse
from dapr.proto.runtime.v1.invoke_pb2 import InvokeServiceRequest
from google.protobuf.any_pb2 import Any as AnyValue

from runtime.adapters.dapr.channel import Sidecar
from runtime.adapters.retry_after import retry_after_s
from runtime.errors import TransientError
from runtime.sources import Answer

_JSON = "application/json"
_AWAY = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED})
_HTTP_STATUS = "dapr-http-status"  # of an app with HTTP; the code says less: it is INTERNAL for a 400
# What an app with gRPC says.
_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.UNIMPLEMENTED: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
}


class DaprInvoker:
    """Calls an app by its id. What a failure's text says is left out: it may be the app's own answer."""

    def __init__(self, sidecar: Sidecar) -> None:
        self._sidecar = sidecar

    async def invoke(self, app: str, method: str, body: bytes, timeout_s: float) -> Answer:
        message = InvokeRequest(
            method=method,
            data=AnyValue(value=body),
            content_type=_JSON,
            http_extension=HTTPExtension(verb=HTTPExtension.POST),
        )
        request = InvokeServiceRequest(id=app, message=message)
        try:
            answer = await self._sidecar.call("InvokeService", request, InvokeResponse, timeout_s)
        except grpc.aio.AioRpcError as error:
            code, told = error.code(), {key: str(value) for key, value in error.initial_metadata() or ()}
            status = told.get(_HTTP_STATUS, "")
            if code in _AWAY and not status:
                raise TransientError(f"the sidecar or the app {app} does not answer") from None
            number = int(status) if status.isdecimal() else _STATUS.get(code, 500)
            return Answer(number, b"", retry_after_s(told.get("retry-after")))
        return Answer(200, answer.data.value)
