"""Whether a process is well: how late its event loop is, and whether its store answers."""

from __future__ import annotations

import asyncio
from collections import deque

from runtime.errors import ManagerError
from runtime.models.constants import DaprConstants
from runtime.ports import Clock, StateStore

SAMPLE_S = 0.25
WINDOW = 40  # samples: ten seconds
STALLED_S = 5.0
ASK_EVERY_S = 5.0
ASK_DEADLINE_S = 5.0
SILENT_S = 15.0


class LoopLag:
    """How much later than asked for the event loop has come back, over the last ten seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock, self._lags = clock, deque([0.0], maxlen=WINDOW)
        self._ticked_at = clock.monotonic()

    def worst_s(self) -> float:
        """The longest delay, that which lasts included."""
        return max(*self._lags, self._clock.monotonic() - self._ticked_at - SAMPLE_S)

    def why_not(self) -> str | None:
        """What is wrong with it now: what it has got over is a matter of the metrics."""
        lag_s = max(self._lags[-1], self._clock.monotonic() - self._ticked_at - SAMPLE_S)
        return f"the event loop was held for {lag_s:.1f} s" if lag_s > STALLED_S else None

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            self._ticked_at = self._clock.monotonic()
            await self._clock.sleep(SAMPLE_S)
            self._lags.append(max(0.0, self._clock.monotonic() - self._ticked_at - SAMPLE_S))


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
