"""The composition root: from settings to a running process and its exit code."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import uvloop

from runtime.adapters.log import Log
from runtime.embedded import start_embedded
from runtime.errors import ManagerError
from runtime.settings import Profile, Settings


def run_app(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT; 0 after an orderly stop, 1 when it could not start or a part failed."""
    if settings.profile is not Profile.EMBEDDED:
        sys.stderr.write("the dapr profile is not there yet; use --profile embedded\n")
        return 1
    try:
        return uvloop.run(_serve(settings))
    except ManagerError as error:
        sys.stderr.write(f"{error}\n")
        return 1


async def _serve(settings: Settings) -> int:
    observer = Log(settings.log_format)
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():
            os._exit(130)  # a second signal ends at once
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal)
    async with start_embedded(settings, observer) as manager:
        waiting = asyncio.create_task(stop.wait())
        await asyncio.wait({waiting, manager.background}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        failed = manager.background.done()
        if failed:
            observer.warn("failed", error=repr(manager.background.exception()))
    observer.log("stopped")
    return 1 if failed else 0
