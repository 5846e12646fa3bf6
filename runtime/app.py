"""The composition root: from settings to a running process and its exit code."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version

import uvloop

from runtime.adapters.clock import SystemClock
from runtime.adapters.collector import collecting_what_is_new
from runtime.adapters.log import Log
from runtime.adapters.ops import Ops
from runtime.errors import ManagerError, PermanentError, SidecarAbsentError
from runtime.ports import Observer
from runtime.settings import Profile, Settings, unknown_variables

SPARE_FILES = 200  # beside sockets: of the store, the sidecar, callers


def run_app(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; 0 after an orderly stop, 1 when it could not start or a part failed.

    3 when no sidecar answers.
    """
    _fill_standard_descriptors()
    try:
        return uvloop.run(_serve(settings, Log(settings.log_format)))
    except SidecarAbsentError as error:
        sys.stderr.write(f"error: {error}\n")
        return 3
    except ManagerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1


def _fill_standard_descriptors() -> None:
    """Open what the caller has closed (`>&-`): else another file gets its number, and libuv aborts on closing it."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _allow_files() -> int:
    """Open as many files as the system lets us; how many. Each socket is one, and by default many allow 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):  # some systems state more than they grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        soft = hard
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft


@dataclass(slots=True)
class Stop:
    """What the signals ask for: the first one an orderly stop, the second one the end at once."""

    observer: Observer
    leave: Callable[[int], object] = os._exit
    asked: asyncio.Event = field(default_factory=asyncio.Event)

    def on_signal(self, number: signal.Signals) -> None:
        """Take a signal."""
        if self.asked.is_set():
            self.leave(128 + number)
        self.observer.log("stopping", signal=number.name)
        self.asked.set()


async def _serve(settings: Settings, observer: Observer) -> int:
    allowed = _allow_files()
    if allowed < settings.max_connections + SPARE_FILES:
        observer.warn("few_files", allowed=allowed, max_connections=settings.max_connections, what_to_do="ulimit -n")
    for name, meant in unknown_variables(os.environ):
        observer.warn("unknown_variable", name=name, meant=meant)
    stop = Stop(observer)
    with _signals_to(stop.on_signal):
        async with _operable(settings) as ops, _start(settings, observer, ops) as background:
            with collecting_what_is_new():
                error = await until_stopped(stop.asked, background)
            if ops is not None:
                ops.stopping()
            if isinstance(error, PermanentError):  # a person has to change something: its text says what
                raise error
            if error is not None:
                lines = "".join(traceback.format_exception(error))
                observer.warn("failed", part=failed_part(error), error=repr(error), traceback=lines)
        observer.log("stopped")
    return 0 if error is None else 1


@asynccontextmanager
async def _operable(settings: Settings) -> AsyncIterator[Ops | None]:
    """Answer the operator's tools, before anything else starts and until all has ended. Raises PermanentError."""
    if not settings.ops:
        yield None
        return
    build = {"version": version("websocket-manager"), "profile": settings.profile.value, "mode": settings.mode.value}
    ops = Ops(SystemClock(), build, host=settings.ops_host, port=settings.ops_port)
    try:  # a second manager on a laptop has not asked for the default port
        await ops.start(is_wanted="ops_port" in settings.model_fields_set)
        yield ops
    finally:
        await ops.stop()


@asynccontextmanager
async def _start(settings: Settings, observer: Observer, ops: Ops | None) -> AsyncIterator[asyncio.Task[None]]:
    """Start what the profile asks for; gives the task that runs it."""
    if settings.profile is Profile.EMBEDDED:
        from runtime.embedded import start_embedded

        async with start_embedded(settings, observer, ops=ops) as embedded:
            yield embedded.background
    else:
        from runtime.dapr import start_dapr

        async with start_dapr(settings, observer, ops) as on_sidecar:
            yield on_sidecar.background


@contextmanager
def _signals_to(callback: Callable[[signal.Signals], object]) -> Iterator[None]:
    """Hand over SIGTERM and SIGINT, and take them back: a closed uvloop would go on swallowing them."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    for number in numbers:
        loop.add_signal_handler(number, callback, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)


async def until_stopped(asked: asyncio.Event, background: asyncio.Task[None]) -> BaseException | None:
    """Wait for the wish to stop, or for the end of the background, which never ends by itself: the error of that."""
    waiting = asyncio.create_task(asked.wait())
    await asyncio.wait({waiting, background}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return background.exception() if background.done() else None


def failed_part(error: BaseException) -> str:
    """The function in which a part of the manager began to run: `Lanes.run`, `Host.run` …"""
    names = [frame.f_code.co_qualname for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((name for name in names if name != "Manager.run"), "unknown")
