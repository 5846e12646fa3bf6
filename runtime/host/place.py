"""Where work runs that must go on while the main loop is busy: here, or on a loop and a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from threading import Thread
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Place(Protocol):
    """Runs coroutines for its caller."""

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it to its end and return what it returns. To cancel this is to cancel the work."""


class Here:
    """The caller's own loop."""

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        return await work


class OwnThread:
    """Another loop on another thread. What runs there must not touch what belongs to the caller's loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def run(self, work: Coroutine[Any, Any, T]) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


@asynccontextmanager
async def own_thread(name: str) -> AsyncIterator[OwnThread]:
    """A thread with a loop for a block; what still runs there at its end is cancelled."""
    here = asyncio.get_running_loop()
    started: asyncio.Future[asyncio.AbstractEventLoop] = here.create_future()
    ended = asyncio.Event()

    async def live() -> None:
        here.call_soon_threadsafe(started.set_result, asyncio.get_running_loop())
        await ended.wait()

    thread = Thread(target=asyncio.run, args=(live(),), name=name, daemon=True)
    thread.start()
    loop = await started
    try:
        yield OwnThread(loop)
    finally:
        loop.call_soon_threadsafe(ended.set)
        await asyncio.to_thread(thread.join)
