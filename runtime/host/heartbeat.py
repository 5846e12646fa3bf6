"""The heartbeat that a peer wants to read: a message sent again and again, and the answer to each."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.correlation import Expectation, expected
from runtime.failure import Failure, FailureKind, SocketLost
from runtime.host.flag import Flag
from runtime.models.opening import Heartbeat
from runtime.ports import Clock, Socket


@dataclass(slots=True)
class Beat:
    """Beats on one socket. It rests while nothing is read (`is_paused`), since the answer is not read either."""

    heartbeat: Heartbeat
    socket: Socket
    clock: Clock
    is_paused: Callable[[], bool]
    _expected: Expectation | None = field(init=False)
    _is_waiting: bool = False
    _answered: Flag = field(default_factory=Flag)

    def __post_init__(self) -> None:
        self._expected = expected(self.heartbeat.expect)

    def is_answered_by(self, message: str | bytes) -> bool:
        """Whether a message is the answer that is waited for; it is then no longer."""
        if not self._is_waiting or self._expected is None or not self._expected.is_met_by(message):
            return False
        self._is_waiting = False
        self._answered.set()
        return True

    async def run(self) -> None:
        """Beat until the socket is lost. Raises SocketLost when a beat is not taken, or not answered."""
        content, interval = self.heartbeat.content(), self.heartbeat.interval_s
        due = self.clock.monotonic() + interval
        while True:
            await self.clock.sleep(max(0, due - self.clock.monotonic()))
            due = self.clock.monotonic() + interval
            if not self.is_paused() and not await self._beat(content):
                return

    async def _beat(self, content: str | bytes) -> bool:
        """False: the socket is lost, and the reader tells how when it has read what came before."""
        self._is_waiting, patience = self._expected is not None, self.heartbeat.patience_s
        self._answered.clear()
        is_taken = False
        try:
            async with asyncio.timeout(patience):
                await self.socket.send(content)
                is_taken = True
                if self._expected is not None:
                    await self._answered.wait()
        except SocketLost:
            return False
        except TimeoutError:
            if not self.is_paused():
                what = "the peer did not answer" if is_taken else "the peer did not take"
                limit = "withinS" if self.heartbeat.within_s else "intervalS"
                reason = f"{what} a heartbeat within {patience:g} s (heartbeat.{limit})"
                raise SocketLost(Failure(FailureKind.TRANSIENT, reason)) from None
        return True
