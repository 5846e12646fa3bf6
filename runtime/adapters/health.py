"""Whether a process is well: how late its event loop is, and whether its store answers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from runtime.errors import ManagerError
from runtime.models.constants import DaprConstants
from runtime.ports import Clock, StateStore

TICK_S = 0.05
KEPT_TICKS = 200  # ten seconds
STALLED_S = 5.0
ASK_EVERY_S = 5.0
ASK_DEADLINE_S = 5.0
SILENT_S = 15.0


class LoopLag:
    """How late the event loop is: a tick is due every 50 ms, and each is noted with its delay.

    Those that fell due while the loop was held count too, each with its own delay, so that a percentile over ticks is
    one over time: what would have come at any moment of a stall was as late. At rest a tick takes 30 microseconds.
    """

    def __init__(self, clock: Clock, note: Callable[[float], None] | None = None) -> None:
        self._clock, self._note = clock, note
        self._lags = deque([0.0], maxlen=KEPT_TICKS)
        self._due = clock.monotonic() + TICK_S

    def worst_s(self) -> float:
        """The longest delay of the last ten seconds, that which lasts included."""
        return max(*self._lags, self._clock.monotonic() - self._due)

    def why_not(self) -> str | None:
        """What is wrong with it now: what it has got over is a matter of the metrics."""
        lag_s = self._clock.monotonic() - self._due
        return f"the event loop was held for {lag_s:.1f} s" if lag_s > STALLED_S else None

    async def run(self) -> None:
        """Tick until cancelled."""
        while True:
            await self._clock.sleep(max(0.0, self._due - self._clock.monotonic()))
            now = self._clock.monotonic()
            missed = int((now - self._due) / TICK_S)
            for _ in range(min(missed + 1, KEPT_TICKS)):  # a process may have been paused for a day
                self._take(max(0.0, now - self._due))
                self._due += TICK_S
            self._due = max(self._due, now)

    def _take(self, lag_s: float) -> None:
        self._lags.append(lag_s)
        if self._note is not None:
            self._note(lag_s)


class StorePulse:
    """Asks the store for one small key again and again."""

    def __init__(self, store: StateStore, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._answered_at, self._reason = clock.monotonic(), ""

    def why_not(self) -> str | None:
        """Why it does not count as there; None when it has answered lately."""
        silent_s = self._clock.monotonic() - self._answered_at
        return f"the store has not answered for {silent_s:.0f} s: {self._reason}" if silent_s > SILENT_S else None

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            try:
                async with asyncio.timeout(ASK_DEADLINE_S):
                    await self._store.get(DaprConstants.INSTANCES_KEY)
            except TimeoutError:
                self._reason = f"no answer within {ASK_DEADLINE_S:g} s"
            except ManagerError as error:
                self._reason = str(error)
            else:
                self._answered_at, self._reason = self._clock.monotonic(), ""
            await self._clock.sleep(ASK_EVERY_S)
