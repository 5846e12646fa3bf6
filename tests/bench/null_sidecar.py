"""A sidecar that acknowledges everything that is published, in a process of its own: what is left is the manager.

State is kept in memory with etags, as a host needs it. Of what is published it only counts events and envelopes, by a
look at both ends of each event. It calls nobody: whoever uses it gives commands and nudges at the app's port.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvloop
from dapr.proto.runtime.v1.metadata_pb2 import GetMetadataResponse, RegisteredComponents
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

ROOT = Path(__file__).parents[2]
COUNT = "/bench.NullSidecar/Count"
COMPONENTS = {"pubsub": "pubsub.null", "statestore": "state.null"}
MAX_BYTES = 64 * 1024 * 1024
_SEQUENCE = b'"sequence":'
_ENTRIES = 3  # the field of BulkPublishRequest
_LENGTH_DELIMITED = 2


@dataclass
class Null:
    """The state, and what was published: events, and the envelopes in them."""

    state: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    etags: int = 0
    events: int = 0
    envelopes: int = 0

    async def metadata(self, _request: object, _context: Any) -> GetMetadataResponse:
        components = [RegisteredComponents(name=name, type=type_) for name, type_ in COMPONENTS.items()]
        return GetMetadataResponse(id="null", runtime_version="null", registered_components=components)

    async def get(self, request: GetStateRequest, _context: Any) -> GetStateResponse:
        value, etag = self.state.get(request.key, (b"", 0))
        return GetStateResponse(data=value, etag=str(etag) if etag else "")

    async def get_bulk(self, request: GetBulkStateRequest, _context: Any) -> GetBulkStateResponse:
        there = [(key, *self.state[key]) for key in request.keys if key in self.state]
        return GetBulkStateResponse(items=[BulkStateItem(key=key, data=data, etag=str(e)) for key, data, e in there])

    async def save(self, request: SaveStateRequest, context: Any) -> Empty:
        for item in request.states:
            await self._check(item.key, item.etag.value, context)
            self.etags += 1
            self.state[item.key] = item.value, self.etags
        return Empty()

    async def delete(self, request: DeleteStateRequest, context: Any) -> Empty:
        await self._check(request.key, request.etag.value, context)
        self.state.pop(request.key, None)
        return Empty()

    async def publish(self, request: bytes, _context: Any) -> bytes:
        self._count(request, 0, len(request))
        return b""

    async def publish_bulk(self, request: bytes, _context: Any) -> bytes:
        for begin, end in _entries(request):
            self._count(request, begin, end)
        return b""

    async def count(self, _request: bytes, _context: Any) -> bytes:
        return b"%d %d" % (self.events, self.envelopes)

    async def _check(self, key: str, given: str, context: Any) -> None:
        """First-write: the etag of what is there, none for what is not."""
        there = self.state.get(key)
        if given != (str(there[1]) if there is not None else ""):
            await context.abort(grpc.StatusCode.ABORTED, "possible etag mismatch")

    def _count(self, request: bytes, begin: int, end: int) -> None:
        """The envelopes of one event are of one connection, without a hole."""
        self.events += 1
        first = request.find(_SEQUENCE, begin, end)
        if first >= 0:
            last = request.rfind(_SEQUENCE, first, end)
            self.envelopes += _number(request, last) - _number(request, first) + 1


def _number(request: bytes, at: int) -> int:
    at += len(_SEQUENCE)
    end = at
    while 48 <= request[end] <= 57:
        end += 1
    return int(request[at:end])


def _entries(request: bytes) -> Iterator[tuple[int, int]]:
    """Where the entries of a BulkPublishRequest are; all its fields have a length in front."""
    at, size = 0, len(request)
    while at < size:
        tag = request[at]
        assert tag & 7 == _LENGTH_DELIMITED
        at, shift, length = at + 1, 0, 0
        while True:
            byte = request[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        if tag >> 3 == _ENTRIES:
            yield at, at + length
        at += length


def _method(call: Any, request: Any = None) -> Any:
    """Without a type of request: bytes to bytes."""
    if request is None:
        return grpc.unary_unary_rpc_method_handler(call)
    return grpc.unary_unary_rpc_method_handler(
        call, request_deserializer=request.FromString, response_serializer=lambda answer: answer.SerializeToString()
    )


async def serve() -> None:
    """Until whoever started it is gone; the first line that it prints is its port."""
    null = Null()
    server = grpc.aio.server(options=[("grpc.max_receive_message_length", MAX_BYTES), ("grpc.so_reuseport", 0)])
    methods = {
        "GetMetadata": _method(null.metadata, Empty),
        "GetState": _method(null.get, GetStateRequest),
        "GetBulkState": _method(null.get_bulk, GetBulkStateRequest),
        "SaveState": _method(null.save, SaveStateRequest),
        "DeleteState": _method(null.delete, DeleteStateRequest),
        "PublishEvent": _method(null.publish),
        "BulkPublishEvent": _method(null.publish_bulk),
    }
    service, _, name = COUNT[1:].partition("/")
    server.add_generic_rpc_handlers(
        [
            grpc.method_handlers_generic_handler("dapr.proto.runtime.v1.Dapr", methods),
            grpc.method_handlers_generic_handler(service, {name: _method(null.count)}),
        ]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)  # noqa: T201 - what it is for
    await asyncio.to_thread(sys.stdin.read)  # nobody writes to it
    await server.stop(None)


@dataclass
class NullSidecar:
    """The side of the bench. As a Counter it counts envelopes, whoever publishes them."""

    port: int
    pid: int
    _count: Any

    async def mark(self) -> int:
        return int((await self._count(b"", timeout=10)).split()[1])

    def between(self, first: int, last: int) -> int:
        return last - first


@asynccontextmanager
async def running_null() -> AsyncIterator[NullSidecar]:
    """Run one for the block."""
    command = [sys.executable, "-m", "tests.bench.null_sidecar"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        try:
            port = int(await asyncio.to_thread(process.stdout.readline))
            async with channel_to(port) as channel:
                yield NullSidecar(port, process.pid, channel.unary_unary(COUNT))
        finally:
            process.kill()


def channel_to(port: int) -> Any:
    """A channel on the loopback interface."""
    return grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.enable_http_proxy", 0)])


if __name__ == "__main__":
    uvloop.run(serve())
