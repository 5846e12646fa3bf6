"""A loopback HTTP endpoint with the shape of the sidecar's calls: publish, bulk publish, invoke, health, and a tail."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from runtime.adapters.embedded.port_holder import why_not
from runtime.adapters.embedded.tail import Tail
from runtime.errors import (
    EventRefusedError,
    InvalidInputError,
    ManagerError,
    NotFoundError,
    PermanentError,
    TransientError,
)
from runtime.models.published import read_bulk, read_entry
from runtime.ports import Names

MAX_BODY_BYTES = 4 * 1024 * 1024
HEARTBEAT_S = 15.0
TEXT = "text/plain"  # a sidecar's, for a call that names no content type


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What the endpoint calls: `invoke(method, body)` and `publish(topic, body, content type, metadata)`."""

    invoke: Callable[[str, bytes], Awaitable[bytes]]
    publish: Callable[[str, bytes, str, Mapping[str, str]], Awaitable[None]]


class Endpoint:
    """The server. It answers a call when its handler has finished, so an accepted command is a written one."""

    def __init__(
        self,
        callbacks: Callbacks,
        tail: Tail,
        names: Names,
        *,
        host: str,
        port: int,
        token: str | None,
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        self._call, self._tail, self._names, self._host, self._token = callbacks, tail, names, host, token
        self._heartbeat_s = heartbeat_s
        self.port = port
        app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[self._guard])
        for verb in ("POST", "PUT"):
            app.router.add_route(verb, "/v1.0/publish/bulk/{pubsub}/{topic:.+}", self._bulk_publish)
            app.router.add_route(verb, "/v1.0-alpha1/publish/bulk/{pubsub}/{topic:.+}", self._bulk_publish)
            app.router.add_route(verb, "/v1.0/publish/{pubsub}/{topic:.+}", self._publish)
        for verb in ("GET", "POST", "PUT"):
            app.router.add_route(verb, "/v1.0/invoke/{app}/method/{method:.+}", self._invoke)
        app.router.add_get("/v1.0/healthz", self._health)
        app.router.add_get("/v1.0/healthz/outbound", self._health)
        app.router.add_get("/v1.0/metadata", self._metadata)
        app.router.add_get("/v1.0/tail", self._stream, allow_head=False)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self) -> None:
        """Listen. Raises PermanentError that names who holds the port."""
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise PermanentError(why_not(self._host, self.port, error)) from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """End all calls."""
        self._tail.close()
        await self._runner.cleanup()

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            return self._refusal(request) or await handler(request)
        except ManagerError as error:
            return _failure(error)
        except web.HTTPRequestEntityTooLarge:
            return _error(413, "ERR_BODY_TOO_LARGE", f"a body holds at most {MAX_BODY_BYTES} bytes")
        except web.HTTPMethodNotAllowed as error:
            allowed = ", ".join(sorted(error.allowed_methods))
            return _error(405, "ERR_METHOD_NOT_ALLOWED", f"{error.method} is not allowed here; {allowed} is", allowed)
        except web.HTTPNotFound:
            return _error(404, "ERR_NOT_FOUND", "there is nothing at this path")

    def _refusal(self, request: web.Request) -> web.Response | None:
        """A browser's page of another origin and a rebound name are refused; so is a wrong token."""
        own = {f"{name}:{self.port}" for name in ("127.0.0.1", "localhost", "[::1]", self._host)}
        if request.headers.get("Host", "").lower() not in own:
            return _error(403, "ERR_FOREIGN_HOST", "this Host is not the endpoint's; use 127.0.0.1 or localhost")
        origin = request.headers.get("Origin")
        # A picture or a link of a page brings no Origin, but says that it is of another site.
        foreign_fetch = request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}
        if foreign_fetch or (origin is not None and origin.lower().removeprefix("http://") not in own):
            return _error(403, "ERR_FOREIGN_ORIGIN", "pages of another origin may not call this endpoint")
        given = request.headers.get("dapr-api-token", "")
        if self._token and not hmac.compare_digest(given.encode(errors="replace"), self._token.encode()):
            return _error(401, "ERR_TOKEN", "the header dapr-api-token is missing or wrong")
        return None

    async def _publish(self, request: web.Request) -> web.Response:
        refusal = self._target_refusal(request)
        if refusal is not None:
            return refusal
        metadata = {
            key.removeprefix("metadata."): value for key, value in request.query.items() if key.startswith("metadata.")
        }
        content_type = request.headers.get("Content-Type") or TEXT
        await self._call.publish(request.match_info["topic"], await request.read(), content_type, metadata)
        return web.Response(status=204)

    async def _bulk_publish(self, request: web.Request) -> web.Response:
        refusal = self._target_refusal(request)
        if refusal is not None:
            return refusal
        failed = []
        for entry in read_bulk(await request.read()):
            try:
                await self._call.publish(request.match_info["topic"], *read_entry(entry))
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
        """One document a line; an empty line when there was nothing for a while, which finds a reader that has left."""
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        with self._tail.subscribe(frozenset(request.query.getall("topic", []))) as reader:
            await response.prepare(request)
            with suppress(ConnectionResetError):
                while (document := await reader.next(self._heartbeat_s)) is not None:
                    await response.write(document + b"\n")
        return response

    def _target_refusal(self, request: web.Request) -> web.Response | None:
        """Only this pubsub, and no topic that the manager alone writes to."""
        pubsub, topic = request.match_info["pubsub"], request.match_info["topic"]
        if pubsub != self._names.pubsub:
            what = f"pubsub {pubsub[:64]} is not found; it is called {self._names.pubsub}"
            return _error(404, "ERR_PUBSUB_NOT_FOUND", what)
        if topic != self._names.commands_topic and self._names.is_reserved(topic):
            what = f"topic {topic[:64]} is reserved: only the manager itself publishes to it"
            return _error(403, "ERR_PUBSUB_FORBIDDEN", what)
        return None


def _failure(error: ManagerError) -> web.Response:
    match error:
        case NotFoundError():
            return _error(404, "ERR_NOT_FOUND", str(error))
        case InvalidInputError():
            return _error(400, "ERR_MALFORMED_REQUEST", str(error))
        case TransientError():
            return _error(503, "ERR_TRY_AGAIN", str(error))
        case EventRefusedError():
            return _error(500, "ERR_PUBSUB_PUBLISH_MESSAGE", str(error))
        case _:
            return _error(500, "ERR_INTERNAL", str(error))


def _error(status: int, code: str, message: str, allowed: str | None = None) -> web.Response:
    headers = {"Allow": allowed} if allowed else None
    return web.json_response({"errorCode": code, "message": message}, status=status, headers=headers)
