"""health-sweep: the cron trigger by which a host finds what it has to look at, though its own timer may not run."""

from __future__ import annotations

from runtime.context import Context
from runtime.errors import TransientError


async def health_sweep(context: Context) -> None:
    """Tick, where this process has a host."""
    if context.sweeper is None:
        raise TransientError("this process has no host; the cron binding belongs to the host's app")
    await context.sweeper.tick()
