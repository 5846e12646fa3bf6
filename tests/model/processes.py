"""A process of the model: its clocks, whether it stands still, and whether it reaches the store."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

START = datetime(2026, 1, 1, tzinfo=UTC)


def time() -> float:
    """The true time, which no process knows."""
    return asyncio.get_running_loop().time()


@dataclass(slots=True, eq=False)
class Process:
    """The Clock port of one process. `host_id`: empty for a process that only handles commands.

    `skew_s`: how far its wall clock is ahead of the truth. No two monotonic clocks have begun at the same time.
    """

    name: str
    host_id: str = ""
    skew_s: float = 0.0
    stands_until: float = 0.0
    cut_until: float = 0.0
    monotonic_zero: float = 0.0

    def now(self) -> datetime:
        return START + timedelta(seconds=time() + self.skew_s)

    def monotonic(self) -> float:
        return time() - self.monotonic_zero

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.stand()

    async def stand(self) -> None:
        """Go on when the process does: every wait of it ends here, so nothing happens while it stands still."""
        while self.stands_until and (left := self.stands_until - time()) > 0:
            await asyncio.sleep(left)

    @property
    def is_cut(self) -> bool:
        """Whether it does not reach the store now."""
        return time() < self.cut_until
