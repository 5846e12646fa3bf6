"""health-sweep: the cron trigger that makes a host look at all records."""

from __future__ import annotations

from collections.abc import Mapping

from runtime.context import Context
from runtime.errors import TransientError


async def health_sweep(context: Context) -> Mapping[str, int]:
    """Sweep, where this process has a host."""
    if context.sweeper is None:
        raise TransientError("this process has no host; the cron binding belongs to the host's app")
    return await context.sweeper.sweep()
