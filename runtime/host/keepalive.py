"""The timers of an open socket: pings, and the longest silence. At rest they have no task, of which each takes 2 KB."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from runtime.failure import Failure, FailureKind, SocketLost
from runtime.models.options import WebSocketOptions
from runtime.ports import Clock, Socket


class Signs(Protocol):
    """What a socket has shown of the peer; times are monotonic."""

    @property
    def is_paused(self) -> bool:
        """Whether nothing is read now: pongs neither, so that the timers rest."""

    @property
    def seen(self) -> float:
        """When something was received last."""

    @property
    def fed(self) -> float:
        """When something was received last that shows that the feed is alive."""

    def pong_came(self) -> None:
        """It is alive now."""


@dataclass(slots=True)
class Keepalive:
    """Works from `start` to `stop`. `lose`: told what has made the socket a lost one."""

    socket: Socket
    options: WebSocketOptions
    clock: Clock
    signs: Signs
    lose: Callable[[BaseException], None]
    _is_stopped: bool = False
    _next_ping: asyncio.TimerHandle | None = None
    _next_look: asyncio.TimerHandle | None = None
    _pinging: asyncio.Task[None] | None = field(default=None)

    def start(self) -> None:
        """Begin to count."""
        self._rest()
        self._look()

    def stop(self) -> None:
        """Do nothing more."""
        self._is_stopped = True
        for resting in (self._next_ping, self._next_look, self._pinging):
            if resting is not None:
                resting.cancel()

    def _rest(self) -> None:
        if self.options.ping_interval_s and not self._is_stopped:
            self._next_ping = asyncio.get_running_loop().call_later(self.options.ping_interval_s, self._ping)

    def _ping(self) -> None:
        if self.signs.is_paused:
            self._rest()
            return
        self._pinging = asyncio.create_task(self._until_pong())
        self._pinging.add_done_callback(self._pinged)

    def _pinged(self, pinging: asyncio.Task[None]) -> None:
        self._pinging = None
        error = None if pinging.cancelled() else pinging.exception()
        if error is not None:
            self.lose(error)
        else:
            self._rest()

    async def _until_pong(self) -> None:
        sent_at, patience = self.clock.monotonic(), self.options.ping_timeout_s
        try:
            async with asyncio.timeout(patience):
                await self.socket.ping()
        except SocketLost:
            return  # the reader tells, when it has read what came before
        except TimeoutError:
            if self.signs.is_paused or self.signs.seen >= sent_at:
                return  # a frame is as good a sign of life as a pong
            reason = f"no pong and no message within {patience:g} s of a ping"
            raise SocketLost(Failure(FailureKind.TRANSIENT, reason)) from None
        if not self.signs.is_paused:  # else messages that came before the pong are not read yet
            self.signs.pong_came()

    def _look(self) -> None:
        limit = self.options.idle_timeout_s
        if not limit:
            return
        left = limit if self.signs.is_paused else self.signs.fed + limit - self.clock.monotonic()
        if left > 0:
            self._next_look = asyncio.get_running_loop().call_later(left, self._look)
        else:
            self.lose(SocketLost(Failure(FailureKind.TRANSIENT, f"no message within {limit:g} s (idleTimeoutS)")))
