"""How long a frame takes to its topic while the manager has half of the load that it can take, against bare calls.

Both take as many frames a second, on as many connections, from the same feed. From the time at which the feed sends a
frame, which its payload tells, to the time in the id that Redis gives to the entry, when it has it: nobody reads
meanwhile, and the way back of the acknowledgement, the same for both, is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.paced_feed import PacedFeedProcess, pacing_feed
from tests.bench.references import running
from tests.bench.staged import PUBSUB, Stage, lanes, managing, staged
from tests.bench.table import Group, against, alone, percentile
from tests.bench.topics import Topic
from tests.bench.turns import Program, until_it_counts

FRAME_BYTES = 200
ROUNDS, CONNECTIONS = 5, 100
WARM_UP_S, WINDOW_S, TAIL_S = 0.4, 1.7, 0.2
CEILING_S = 0.8, 1.5
PERCENTS = (50, 99)
BARE, MANAGER = "bare bulk calls", "manager"

NOTE = """\
At half of what the manager takes, measured just before; {rate:,.0f} frames a second on {connections} connections, from
the same feed to both. From the feed's sending to the id of the entry in Redis, in whole milliseconds."""


@dataclass(frozen=True)
class Taker:
    """A group of the feed's connections, and the topic to which a program publishes what comes by them."""

    group: str
    topic: Topic


async def measure(
    folder: Path, rounds: int = ROUNDS, connections: int = CONNECTIONS, window_s: float = WINDOW_S
) -> Group:
    """The rows."""
    samples: dict[str, list[Sequence[float]]] = defaultdict(list)
    async with pacing_feed(folder) as feed, staged(folder) as stage:
        rate = await _ceiling(folder, stage, feed, connections) / 2
        async with _takers(folder, stage, feed, connections) as takers:
            for _ in range(rounds):
                for name, taker in takers.items():
                    samples[name].append(await latencies_ms(feed, taker, rate, window_s))
    rows = []
    for percent in PERCENTS:
        values = {name: [percentile(each, percent) for each in samples[name]] for name in (BARE, MANAGER)}
        reference = f"{BARE}, p{percent}"
        rows.append(alone(reference, "ms", values[BARE]))
        rows.append(against(f"{MANAGER}, p{percent}", "ms", values[MANAGER], reference, values[BARE]))
    about = {"frameBytes": FRAME_BYTES, "rounds": rounds, "windowS": window_s, "framesPerSecond": round(rate)}
    note = NOTE.format(rate=rate, connections=connections)
    return Group(f"Latency of {FRAME_BYTES}-byte frames at half the ceiling", rows, about, note)


async def latencies_ms(feed: PacedFeedProcess, taker: Taker, rate: float, window_s: float) -> list[float]:
    """From the sending of each frame of a window to its entry in the stream, which is emptied."""
    async with feed.pacing(taker.group, rate):
        await asyncio.sleep(WARM_UP_S)
        begin = time.time()
        await asyncio.sleep(window_s)
        end = time.time()
    await asyncio.sleep(TAIL_S)
    arrived = await asyncio.to_thread(taker.topic.take_all)
    return [1000 * (at - sent) for sent, at in arrived if begin <= sent < end]


async def _ceiling(folder: Path, stage: Stage, feed: PacedFeedProcess, connections: int) -> float:
    """Frames a second that a manager takes of a flood."""
    topic = Topic(stage.redis.port)
    async with managing(folder, "ceiling", stage.sidecar.grpc_port) as manager, topic.trimmed():
        await manager.connect(feed.gated("ceiling", FRAME_BYTES, connections), topic.name)
        await feed.open("ceiling", connections)
        return (await Program(manager.pid, topic).rate(*CEILING_S)).per_s


@asynccontextmanager
async def _takers(
    folder: Path, stage: Stage, feed: PacedFeedProcess, connections: int
) -> AsyncIterator[Mapping[str, Taker]]:
    """The manager, and the program that makes such calls of such events."""
    ours, bare = Taker("ours", Topic(stage.redis.port)), Taker("bare", Topic(stage.redis.port))
    port = stage.sidecar.grpc_port
    async with AsyncExitStack() as stack:
        manager = await stack.enter_async_context(managing(folder, "manager", port))
        await manager.connect(feed.paced(ours.group, FRAME_BYTES, connections), ours.topic.name)
        async with feed.pacing(ours.group, connections):
            await until_it_counts(ours.topic)
        event = ours.topic.bare_event(folder)
        args = str(port), PUBSUB, bare.topic.name, str(lanes()), str(event)
        urls = feed.paced(bare.group, FRAME_BYTES, connections)
        await stack.enter_async_context(running("bare_paced", *args, *urls, out=folder / "bare.out"))
        await feed.until_open(f"/paced/{bare.group}/", connections)
        yield {BARE: bare, MANAGER: ours}
