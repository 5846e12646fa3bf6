"""What an operator's tools ask of a process: `/livez`, `/readyz` and `/metrics`, on a port of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from aiohttp import web

from runtime.adapters.embedded.port_holder import why_not
from runtime.adapters.health import LoopLag, StorePulse
from runtime.adapters.metrics import CONTENT_TYPE, PrometheusMeters
from runtime.errors import PermanentError
from runtime.ports import Clock, Gauges, StateStore

Check = Callable[[], str | None]
"""Why something is not as it should be; None when it is."""


class Ops:
    """Answers from the start of the process to its end. Nothing of a connection is shown: no id, no URL, no topic.

    `/livez` is 503 once a part has ended; while the event loop is held nothing answers, which says the same.
    """

    def __init__(self, clock: Clock, build: Mapping[str, str], *, host: str, port: int) -> None:
        self._clock, self._host, self.port = clock, host, port
        self.where = ""
        self.meters = PrometheusMeters(build, lambda: self._lag.worst_s())  # noqa: PLW0108 - made below
        self._lag = LoopLag(clock, self.meters.ticked)
        self._ready: dict[str, Check] = {"started": lambda: "the manager is starting"}
        self._running: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)

    async def start(self, *, is_wanted: bool = True) -> None:
        """Listen; `where` says at which address, or why not.

        Raises PermanentError that names who holds the port, unless it is not wanted that much.
        """
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self.port).start()
        except OSError as error:
            await self._runner.cleanup()
            self.where = why_not(self._host, self.port, error, "--ops-port, or --no-ops")
            if is_wanted:
                raise PermanentError(self.where) from error
        else:
            self.port = self._runner.addresses[0][1]
            self.where = f"{self._host}:{self.port}"
        self._spawn(self._lag.run())

    def watch(
        self,
        gauges: Callable[[], Gauges],
        store: StateStore,
        ready: Mapping[str, Check],
        running: asyncio.Task[None],
    ) -> None:
        """There is a manager now, which `running` runs."""
        self.meters.gauges, self._running = gauges, running
        pulse = StorePulse(store, self._clock)
        self._spawn(pulse.run())
        parts = {"parts": self._why_parts_do_not_run, "loop": self._lag.why_not, "store": pulse.why_not}
        self._ready = {**parts, **ready}

    def stopping(self) -> None:
        """The manager drains: it is no longer to be counted on."""
        self._ready = {"started": lambda: "the manager is stopping"}

    async def stop(self) -> None:
        """End the answers."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        await self._runner.cleanup()

    def _spawn(self, part: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(part))

    def _why_parts_do_not_run(self) -> str | None:
        return "a part of the manager has ended" if self._running is not None and self._running.done() else None

    async def _livez(self, _request: web.Request) -> web.Response:
        return _answer("alive", {"parts": self._why_parts_do_not_run()})

    async def _readyz(self, _request: web.Request) -> web.Response:
        return _answer("ready", {name: check() for name, check in self._ready.items()})

    async def _metrics(self, _request: web.Request) -> web.Response:
        return web.Response(body=self.meters.text(), headers={"Content-Type": CONTENT_TYPE})


def _answer(word: str, reasons: Mapping[str, str | None]) -> web.Response:
    """200 when nothing is wrong, 503 otherwise; what was looked at, and why it failed."""
    checks = {name: {"ok": reason is None, "reason": reason} for name, reason in reasons.items()}
    is_well = all(reason is None for reason in reasons.values())
    return web.json_response({word: is_well, "checks": checks}, status=200 if is_well else 503)
