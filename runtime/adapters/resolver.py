"""Name resolution that one slow name cannot hold up for all others, nor for the end of the process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

from runtime.failure import DialError, Failure, FailureKind

AT_ONCE = 32


def look_up(host: str, flags: int = 0) -> list[str]:
    """getaddrinfo: every address of a name, each once, as text that the guard judges and the dial goes to."""
    infos = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=flags)
    return list(dict.fromkeys(str(address[0]) for _, _, _, _, address in infos))


class SystemResolver:
    """The system's resolver. An address needs no look-up; a name has one look-up in flight, whoever asks for it.

    A look-up cannot be cancelled and may take the better part of a minute. It runs in a daemon thread of its own (an
    executor's thread would be waited for when the process ends), at most `AT_ONCE` at a time.
    """

    def __init__(self, ask: Callable[[str], list[str]] = look_up) -> None:
        self._ask = ask
        self._threads = asyncio.Semaphore(AT_ONCE)
        self._flying: dict[str, asyncio.Task[list[str]]] = {}

    async def resolve(self, host: str, port: int) -> list[str]:
        with suppress(OSError, UnicodeError):
            return look_up(host, socket.AI_NUMERICHOST)
        task = self._flying.get(host)
        if task is None:
            task = self._flying[host] = asyncio.create_task(self._look_up(host))
            task.add_done_callback(lambda done: self._landed(host, done))
        try:
            return await asyncio.shield(task)  # the others who wait for it must not suffer from one who gives up
        except (OSError, UnicodeError) as error:
            reason = f"the host name cannot be resolved: {getattr(error, 'strerror', None) or error}"
            raise DialError(Failure(FailureKind.TRANSIENT, reason)) from error

    async def _look_up(self, host: str) -> list[str]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def settle(found: list[str], error: Exception | None) -> None:
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found)

        def run() -> None:
            found: list[str] = []
            failure: Exception | None = None
            try:
                found = self._ask(host)
            except Exception as error:  # noqa: BLE001 - it is raised where it is awaited
                failure = error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(settle, found, failure)

        async with self._threads:
            Thread(target=run, name=f"dns {host}", daemon=True).start()
            return await answer

    def _landed(self, host: str, task: asyncio.Task[list[str]]) -> None:
        del self._flying[host]
        if not task.cancelled():
            task.exception()  # looked at, though all who asked may have gone
