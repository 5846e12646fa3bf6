"""Exchanging a socket that is due for a new one, make before break: the old one is read until the new one is open."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from runtime.backoff import Backoff, Retry
from runtime.failure import DialError, Failure, SocketLost
from runtime.host.line import Line
from runtime.host.session import Session
from runtime.host.tools import Tools
from runtime.models.options import WebSocketOptions
from runtime.reconnect import LifeEnded, keep_alive

LOOK_EVERY_S = 0.25
WARNING = "exchange_failed"


@dataclass(frozen=True, slots=True)
class Successor:
    """What a socket is exchanged for, and why."""

    line: Line
    session: Session
    why: str


@dataclass(slots=True)
class Exchange:
    """Finds the successor of one session after the other.

    `open_next`: dials and opens, and holds back what comes; raises DialError, SocketLost. `may_begin`: whether the
    connection is not about to move or to end. `rest`: returns when no request waits for its answer on the old socket.
    `ready`: the successor, while the old socket is read to its end.
    """

    tools: Tools
    connection_id: str
    options: WebSocketOptions
    open_next: Callable[[], Awaitable[tuple[Line, Session]]]
    may_begin: Callable[[], bool]
    rest: Callable[[], Awaitable[None]]
    ready: Successor | None = None
    _task: asyncio.Task[None] | None = None

    def watch(self, session: Session) -> None:
        """From now on this one is read."""
        self.ready = None
        session.on_due = partial(self._begin, session)

    def end(self) -> None:
        """There is nothing to exchange any more."""
        if self._task is not None:
            self._task.cancel()
        if self.ready is not None:
            self.ready.session.abandon()

    def _begin(self, session: Session, why: str) -> None:
        self._task = asyncio.create_task(self._run(session, why))
        self._task.add_done_callback(partial(_ended, session))

    async def _run(self, session: Session, why: str) -> None:
        """However often that fails: the old socket is as good as before. What is refused for good is left alone."""
        backoff = Backoff(self.options)
        exhausted = await keep_alive(
            partial(self._find, why), backoff=backoff, random=self.tools.random, pause=self._pause
        )
        if exhausted is not None:
            self._warn(exhausted.reason, None)
            return
        await self.rest()
        session.leave()

    async def _find(self, why: str) -> None:
        """Open the next socket, at a time at which the connection stays here. Raises LifeEnded."""
        while self.ready is None:
            while not self.may_begin():
                await self.tools.clock.sleep(LOOK_EVERY_S)
            try:
                line, successor = await self.open_next()
            except (DialError, SocketLost) as error:
                raise LifeEnded(error.failure) from None
            if self.may_begin():
                self.ready = Successor(line, successor, why)
            else:
                successor.abandon()

    async def _pause(self, retry: Retry, failure: Failure) -> None:
        self._warn(failure.reason, round(retry.delay_s, 3))
        await self.tools.clock.sleep(retry.delay_s)

    def _warn(self, reason: str, retry_in_s: float | None) -> None:
        self.tools.observer.warn(WARNING, id=self.connection_id, reason=reason, retry_in_s=retry_in_s)


def _ended(session: Session, task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        session.lose(error)
