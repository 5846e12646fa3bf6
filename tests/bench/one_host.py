"""A host that looks at all records again and again. Prints five numbers of the time before, and of each pass.

They are: how many records there was nothing to do about, the seconds that it took, the MiB by which memory had grown at
most since the first pass began, the 99th percentile and the worst of the loop's lag in milliseconds. Arguments: the
port for its sidecar, the sidecar's gRPC port, that of Redis, records a second, how many passes, and the most seconds
that one may take.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import nan
from uuid import uuid4

import psutil
import uvloop

from runtime.adapters.log import Log
from runtime.dapr import start_dapr
from runtime.host.sweeper import Sweeper
from runtime.models.constants import DaprConstants
from runtime.settings import Mode, Profile, Settings
from tests.acceptance.dapr.streams import ask
from tests.bench.table import percentile

IDLE_S = 2
TICK_S = 0.005
MIB = 1 << 20
KEY = "statestore||"  # in front of every key
APART = "bench-index"  # the index of the records, until they are to be found


class Warnings(Log):
    """A log of what is wrong only: the output is for figures."""

    def log(self, event: str, **fields: object) -> None:
        pass


@dataclass
class Probe:
    """How late the loop comes back, and how much memory there is meanwhile."""

    lags_s: list[float] = field(default_factory=list)
    most_bytes: int = 0

    async def run(self) -> None:
        process = psutil.Process()
        while True:
            due = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            self.lags_s.append(time.monotonic() - due)
            self.most_bytes = max(self.most_bytes, process.memory_info().rss)


@asynccontextmanager
async def probing() -> AsyncIterator[Probe]:
    """Look for the block."""
    probe = Probe()
    task = asyncio.create_task(probe.run())
    try:
        yield probe
    finally:
        task.cancel()


async def main(app_port: int, grpc_port: int, redis_port: int, rate: int, passes: int, most_s: float) -> None:
    settings = Settings(
        profile=Profile.DAPR,
        mode=Mode.HOST,
        instance_id=f"bench-{uuid4().hex}",
        app_port=app_port,
        dapr_grpc_port=grpc_port,
        sweep_rate=rate,
        lease_s=3600,  # nobody beats for the host that is named in the records, which is not to be taken for dead
        ops=False,
    )
    async with start_dapr(settings, Warnings("json")) as on_sidecar:
        resident = on_sidecar.manager.resident
        assert resident is not None
        while not resident.lease.has_begun:
            await asyncio.sleep(0.1)
        await resident.sweeper.sweep()  # so that the one at the start is over
        before = psutil.Process().memory_info().rss
        async with probing() as probe:
            await asyncio.sleep(IDLE_S)
        tell(0, IDLE_S, before, probe)
        ask(redis_port, "RENAME", APART, KEY + DaprConstants.INDEX_KEY)
        try:
            for _ in range(passes):
                async with probing() as probe:
                    began = time.monotonic()
                    seen = await look(resident.sweeper, most_s)
                    took = time.monotonic() - began
                tell(seen, took, before, probe)
        finally:
            ask(redis_port, "RENAME", KEY + DaprConstants.INDEX_KEY, APART)


async def look(sweeper: Sweeper, most_s: float) -> float:
    """One pass; how many records there was nothing to do about, and nan if the time was not enough for all."""
    try:
        async with asyncio.timeout(most_s):
            return (await sweeper.sweep())["nothing"]
    except TimeoutError:
        return nan


def tell(seen: float, took_s: float, before: int, probe: Probe) -> None:
    lags_ms, grown_mib = [1000 * each for each in probe.lags_s], (probe.most_bytes - before) / MIB
    print(seen, took_s, grown_mib, percentile(lags_ms, 99), max(lags_ms), sep="\n")  # noqa: T201 - what it is for


if __name__ == "__main__":
    *numbers, most = sys.argv[1:]
    app, grpc, redis, per_s, count = map(int, numbers)
    uvloop.run(main(app, grpc, redis, per_s, count, float(most)))
