"""A loopback HTTP endpoint with the shape of the sidecar's calls: publish, bulk publish, invoke, health, and a tail."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import psutil
from aiohttp import web

from runtime.adapters.embedded.tail import Tail
from runtime.errors import (
    FieldProblem,
    InvalidInputError,
    ManagerError,
    NotFoundError,
    PermanentError,
    TransientError,
)
from runtime.ports import Names

MAX_BODY_BYTES = 4 * 1024 * 1024
HEARTBEAT_S = 15.0


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the endpoint calls: `invoke(method, body)` and `publish(topic, body, content type, metadata)`."""

    invoke: Callable[[str, bytes], Awaitable[bytes]]
    publish: Callable[[str, bytes, str, Mapping[str, str]], Awaitable[None]]


class Endpoint:
    """The server. It answers a call when its handler has finished, so an accepted command is a written one."""

    def __init__(
        self, callbacks: Callbacks, tail: Tail, names: Names, *, host: str, port: int, token: str | None
    ) -> None:
        self._call, self._tail, self._names, self._host, self._token = callbacks, tail, names, host, token
        self.port = port
        self._stopping = asyncio.Event()
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._guard])
        app.router.add_route("*", "/v1.0/publish/bulk/{pubsub}/{topic:.+}", self._bulk_publish)
        app.router.add_route("*", "/v1.0-alpha1/publish/bulk/{pubsub}/{topic:.+}", self._bulk_publish)
        app.router.add_post("/v1.0/publish/{pubsub}/{topic:.+}", self._publish)
        app.router.add_put("/v1.0/publish/{pubsub}/{topic:.+}", self._publish)
        app.router.add_route("*", "/v1.0/invoke/{app}/method/{method:.+}", self._invoke)
        app.router.add_get("/v1.0/healthz", self._health)
        app.router.add_get("/v1.0/healthz/outbound", self._health)
        app.router.add_get("/v1.0/metadata", self._metadata)
        app.router.add_get("/v1.0/tail", self._stream)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Listen. Raises PermanentError that names who holds the port."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise PermanentError(
                f"port {self.port} is taken by {_holder(self.port)}: stop it or choose another with --port"
            ) from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End all calls."""
        self._stopping.set()
        await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        try:
            return await handler(request)
        except NotFoundError as error:
            return _error(404, "ERR_NOT_FOUND", str(error))
        except InvalidInputError as error:
            return _error(400, "ERR_MALFORMED_REQUEST", str(error))
        except TransientError as error:
            return _error(503, "ERR_TRY_AGAIN", str(error))
        except ManagerError as error:
            return _error(500, "ERR_INTERNAL", str(error))
        except web.HTTPRequestEntityTooLarge:
            return _error(413, "ERR_BODY_TOO_LARGE", f"a body holds at most {MAX_BODY_BYTES} bytes")

    def _refusal(self, request: web.Request) -> web.Response | None:
        """A browser's page of another origin and a rebound name are refused; so is a wrong token."""
        own = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]", self._host)}
        if request.headers.get("Host", "").lower() not in own:
            return _error(403, "ERR_FOREIGN_HOST", "this Host is not the endpoint's; use 127.0.0.1 or localhost")
        origin = request.headers.get("Origin")
        if origin is not None and origin.lower().removeprefix("http://") not in own:
            return _error(403, "ERR_FOREIGN_ORIGIN", "pages of another origin may not call this endpoint")
        given = request.headers.get("dapr-api-token", "")
        if self._token and not hmac.compare_digest(given.encode(), self._token.encode()):
            return _error(401, "ERR_TOKEN", "the header dapr-api-token is missing or wrong")
        return None

    async def _publish(self, request: web.Request) -> web.Response:
        self._check_pubsub(request)
        metadata = {
            key.removeprefix("metadata."): value for key, value in request.query.items() if key.startswith("metadata.")
        }
        body = await request.read()
        content_type = request.headers.get("Content-Type", "application/json")
        await self._call.publish(request.match_info["topic"], body, content_type, metadata)
        return web.Response(status=204)

    async def _bulk_publish(self, request: web.Request) -> web.Response:
        self._check_pubsub(request)
        entries = _entries(await request.read())
        failed = []
        for entry in entries:
            try:
                body, content_type = _entry_body(entry)
                metadata = {str(key): str(value) for key, value in (entry.get("metadata") or {}).items()}
                await self._call.publish(request.match_info["topic"], body, content_type, metadata)
            except ManagerError as error:
                failed.append({"entryId": entry["entryId"], "error": str(error)})
        if failed:
            return web.json_response({"failedEntries": failed, "errorCode": "ERR_PUBSUB_PUBLISH_MESSAGE"}, status=500)
        return web.Response(status=204)

    async def _invoke(self, request: web.Request) -> web.Response:
        known = {self._names.handlers_app_id, self._names.host_app_id}
        if request.match_info["app"] not in known:
            raise NotFoundError(f"no app of this id; there are {', '.join(sorted(known))}")
        answer = await self._call.invoke(request.match_info["method"], await request.read())
        return web.Response(body=answer, content_type="application/json")

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _metadata(self, request: web.Request) -> web.Response:
        components = [
            {"name": self._names.pubsub, "type": "pubsub.embedded", "version": "v1"},
            {"name": self._names.statestore, "type": "state.embedded", "version": "v1"},
        ]
        body = {"id": self._names.handlers_app_id, "runtimeVersion": "embedded", "components": components}
        return web.json_response(body)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        with self._tail.subscribe(frozenset(request.query.getall("topic", []))) as reader:
            await response.prepare(request)
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                while not self._stopping.is_set():
                    document = asyncio.create_task(reader.next())
                    await asyncio.wait({document, stopping}, timeout=HEARTBEAT_S, return_when=asyncio.FIRST_COMPLETED)
                    line = document.result() if document.done() else b""
                    document.cancel()
                    await response.write(line + b"\n")
            except ConnectionResetError:
                pass
            finally:
                stopping.cancel()
        return response

    def _check_pubsub(self, request: web.Request) -> None:
        name = request.match_info["pubsub"]
        if name != self._names.pubsub:
            raise NotFoundError(f"pubsub {name[:64]} is not found; it is called {self._names.pubsub}")


def _error(status: int, code: str, message: str) -> web.Response:
    return web.json_response({"errorCode": code, "message": message}, status=status)


def _entries(body: bytes) -> list[dict[str, Any]]:
    try:
        entries = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError("bulk publish", [_problem(f"is not JSON: {error}")]) from None
    if not isinstance(entries, list) or not all(
        isinstance(entry, dict) and isinstance(entry.get("entryId"), str) and "event" in entry for entry in entries
    ):
        raise InvalidInputError("bulk publish", [_problem("must be a list of objects with entryId and event")])
    if len({entry["entryId"] for entry in entries}) != len(entries):
        raise InvalidInputError("bulk publish", [_problem("holds an entryId twice")])
    return entries


def _problem(what: str) -> FieldProblem:
    return FieldProblem("", what)


def _entry_body(entry: dict[str, Any]) -> tuple[bytes, str]:
    content_type = str(entry.get("contentType") or "application/json")
    event = entry["event"]
    if isinstance(event, str) and "json" not in content_type:
        return event.encode(), content_type
    return orjson.dumps(event), content_type


def _holder(port: int) -> str:
    """Who listens on a port, as far as the system tells."""
    try:
        for connection in psutil.net_connections("tcp"):
            port_held = connection.laddr[1] if connection.laddr else None
            if connection.status == psutil.CONN_LISTEN and port_held == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another process"
