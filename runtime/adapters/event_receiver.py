"""Takes CloudEvents by HTTP POST, binary or structured: how a Knative Trigger drives the handlers, from zero."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from urllib.parse import unquote

from aiohttp import web

from runtime.adapters.embedded.port_holder import why_not
from runtime.errors import FieldProblem, InvalidInputError, PermanentError, TransientError
from runtime.models.events import JSON, Event, media_type
from runtime.models.published import CLOUD_EVENT, CloudEventDocument, read_published
from runtime.models.wire import format_time
from runtime.ports import Clock

MAX_BODY_BYTES = 4 * 1024 * 1024
RETRY_AFTER_S = 1


class EventReceiver:
    """Hands each event to `receive` and answers when that has returned.

    204: done with, be it accepted or rejected. 400 and 413: no CloudEvent that could be read, do not send it again.
    503: try again later.
    """

    def __init__(
        self, receive: Callable[[Event], Awaitable[object]], topic: str, clock: Clock, *, host: str, port: int
    ) -> None:
        self._receive, self._topic, self._clock, self._host, self.port = receive, topic, clock, host, port
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_post("/{path:.*}", self._post)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=5.0)

    async def start(self) -> None:
        """Listen. Raises PermanentError that names who holds the port."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            raise PermanentError(why_not(self._host, self.port, error, "--events-port")) from error
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Take no more, and finish what is being handled."""
        await self._runner.cleanup()

    async def _post(self, request: web.Request) -> web.Response:
        try:
            await self._receive(await self._read(request))
        except web.HTTPRequestEntityTooLarge:
            return web.Response(status=413, text=f"an event holds at most {MAX_BODY_BYTES} bytes\n")
        except InvalidInputError as error:
            return web.Response(status=400, text=f"{error}\n")
        except TransientError as error:
            return web.Response(status=503, text=f"{error}\n", headers={"Retry-After": str(RETRY_AFTER_S)})
        return web.Response(status=204)

    async def _read(self, request: web.Request) -> Event:
        content_type = request.headers.get("Content-Type", JSON)
        body, now = await request.read(), format_time(self._clock.now())
        if media_type(content_type) == CLOUD_EVENT:
            return read_published(self._topic, body, content_type, {}, now)
        attributes = {
            name.lower().removeprefix("ce-"): unquote(value)
            for name, value in request.headers.items()
            if name.lower().startswith("ce-")
        }
        if not attributes:
            text = f"must have the headers ce-id, ce-source, ce-type and ce-specversion, or be {CLOUD_EVENT}"
            raise InvalidInputError("event", [FieldProblem("", text)])
        document: CloudEventDocument = CloudEventDocument.read({**attributes, "datacontenttype": content_type})
        return Event(
            document.id,
            self._topic,
            document.type,
            document.subject or "",
            document.time or now,
            body,
            content_type,
            document.source,
        )
