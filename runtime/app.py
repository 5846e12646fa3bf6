"""The composition root: from settings to a running process and its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvloop

from runtime.adapters.log import Log
from runtime.embedded import start_embedded
from runtime.errors import ManagerError
from runtime.ports import Observer
from runtime.settings import Settings, unknown_variables


def run_app(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; 0 after an orderly stop, 1 when it could not start or a part failed."""
    _fill_standard_descriptors()
    try:
        return uvloop.run(_serve(settings, Log(settings.log_format)))
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
    for name, meant in unknown_variables(os.environ):
        observer.warn("unknown_variable", name=name, meant=meant)
    stop = Stop(observer)
    with _signals_to(stop.on_signal):
        async with start_embedded(settings, observer) as manager:
            error = await until_stopped(stop.asked, manager.background)
            if error is not None:
                lines = "".join(traceback.format_exception(error))
                observer.warn("failed", part=failed_part(error), error=repr(error), traceback=lines)
        observer.log("stopped")
    return 0 if error is None else 1


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
    """The function in which a part of the manager began to run: `Lane.run`, `Host.run` …"""
    names = [frame.f_code.co_qualname for frame, _ in traceback.walk_tb(error.__traceback__)]
    return next((name for name in names if name != "Manager.run"), "unknown")
