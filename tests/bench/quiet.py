"""What becomes of a quiet connection when another one on the same host runs at full speed, on a sidecar with Redis.

Three managers in turn, each with as many quiet connections, so that all lanes have some: they are alone, or beside one
more that floods, with delivery message or batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.latency import Taker, latencies_ms
from tests.bench.paced_feed import PacedFeedProcess, pacing_feed
from tests.bench.staged import Stage, managing, staged
from tests.bench.table import Group, against, alone, percentile
from tests.bench.topics import Topic
from tests.bench.turns import its_turn, until_it_counts

FRAME_BYTES = 200
ROUNDS, QUIET, RATE = 5, 20, 5  # quiet connections, and frames a second of each
WINDOW_S = 1.5
PERCENTS = (50, 99)
ALONE, BESIDE_MESSAGE, BESIDE_BATCH = "quiet, alone", "quiet beside a flood, message", "quiet beside a flood, batch"
FLOODS: Mapping[str, Mapping[str, Any] | None] = {
    ALONE: None,
    BESIDE_MESSAGE: {"delivery": "message"},
    BESIDE_BATCH: {"delivery": "batch"},
}

NOTE = f"""\
{QUIET} quiet connections, {RATE} frames a second each, of a host that has no other, or one more that floods.
From the feed's sending to the id of the entry in Redis, in whole milliseconds."""


@dataclass(frozen=True)
class Host:
    """A manager, and what its quiet connections publish."""

    pid: int
    taker: Taker


async def measure(folder: Path, rounds: int = ROUNDS, window_s: float = WINDOW_S) -> Group:
    """The rows."""
    samples: dict[str, list[Sequence[float]]] = defaultdict(list)
    async with pacing_feed(folder) as feed, staged(folder) as stage, _hosts(folder, stage, feed) as hosts:
        for _ in range(rounds):
            for name, host in hosts.items():
                with its_turn(host.pid):
                    samples[name].append(await latencies_ms(feed, host.taker, QUIET * RATE, window_s))
    rows = []
    for percent in PERCENTS:
        values = {name: [percentile(each, percent) for each in samples[name]] for name in FLOODS}
        reference = f"{ALONE}, p{percent}"
        rows.append(alone(reference, "ms", values[ALONE]))
        rows += [
            against(f"{name}, p{percent}", "ms", values[name], reference, values[ALONE])
            for name in FLOODS
            if name != ALONE
        ]
    about = {"frameBytes": FRAME_BYTES, "rounds": rounds, "windowS": window_s, "quiet": QUIET, "framesPerSecond": RATE}
    return Group("A quiet connection beside one at full speed", rows, about, NOTE)


@asynccontextmanager
async def _hosts(folder: Path, stage: Stage, feed: PacedFeedProcess) -> AsyncIterator[Mapping[str, Host]]:
    """The managers, connected and stopped."""
    hosts: dict[str, Host] = {}
    async with AsyncExitStack() as stack:
        for number, (name, options) in enumerate(FLOODS.items()):
            taker, flooded = Taker(f"quiet{number}", Topic(stage.redis.port)), Topic(stage.redis.port)
            manager = await stack.enter_async_context(managing(folder, taker.group, stage.sidecar.grpc_port))
            await manager.connect(feed.paced(taker.group, FRAME_BYTES, QUIET), taker.topic.name)
            async with feed.pacing(taker.group, QUIET * RATE):
                await until_it_counts(taker.topic)
            if options is not None:
                await stack.enter_async_context(flooded.trimmed())
                await manager.connect([feed.url(f"flood/{FRAME_BYTES}/0")], flooded.name, **options)
                await until_it_counts(flooded)
            hosts[name] = Host(manager.pid, taker)
            with its_turn(manager.pid):
                pass
        yield hosts
