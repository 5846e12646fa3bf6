"""Frames a second from a flooding feed to Redis through a real sidecar, against what one writes first and bare calls.

Every program is started once and stopped by a signal outside its turns. What has arrived is counted in Redis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from tests.bench.paced_feed import PacedFeedProcess, pacing_feed
from tests.bench.references import running
from tests.bench.staged import PUBSUB, Stage, lanes, managing, staged
from tests.bench.table import Group, Result, against, alone
from tests.bench.topics import BatchTopic, Topic
from tests.bench.turns import WARM_UP_S, WINDOW_S, Program

FRAME_BYTES = 200
ROUNDS, MANY = 5, 100
NAIVE, NAIVE_MANY = "naive program, 1 connection", f"{MANY} naive loops, {MANY} connections"
BARE = f"bare bulk calls, {MANY} connections"
MESSAGE, BATCH, RAW = f"message, {MANY} connections", "batch, 1 connection", "batch with rawPayload, 1 connection"
DELIVERIES: Mapping[str, Mapping[str, Any]] = {
    MESSAGE: {},
    BATCH: {"delivery": "batch"},
    RAW: {"delivery": "batch", "rawPayload": True},
}
PAIRS = (
    (NAIVE, None),
    (NAIVE_MANY, NAIVE),
    (BARE, None),
    (MESSAGE, BARE),
    (MESSAGE, NAIVE),
    (MESSAGE, NAIVE_MANY),
    (BATCH, NAIVE),
    (RAW, NAIVE),
)
"""The rows, and what each is compared to."""

NOTE = """\
naive: receive, await publish_event of the SDK, one after the other; with many connections as many such loops.
bare bulk calls: as many lanes and events in a call as the manager, of one event made beforehand, while the same feed is
read by the library and discarded beside it. The manager: `wsm run`, delivery as the row says. Counted in Redis."""


async def measure(
    folder: Path, rounds: int = ROUNDS, many: int = MANY, warm_up_s: float = WARM_UP_S, window_s: float = WINDOW_S
) -> Group:
    """The rows."""
    rates: dict[str, list[float]] = defaultdict(list)
    async with pacing_feed(folder) as feed, staged(folder) as stage, _programs(folder, stage, feed, many) as programs:
        for _ in range(rounds):
            for name, program in programs.items():
                rates[name].append((await program.rate(warm_up_s, window_s)).per_s)
        daprd = stage.sidecar.metadata()["runtimeVersion"]
    about = {"frameBytes": FRAME_BYTES, "rounds": rounds, "windowS": window_s, "lanes": lanes(), "daprd": daprd}
    return Group(f"{FRAME_BYTES}-byte frames to a sidecar with Redis", _rows(rates), about, NOTE)


def _rows(rates: Mapping[str, Sequence[float]]) -> list[Result]:
    return [
        alone(name, "frames/s", rates[name])
        if reference is None
        else against(name, "frames/s", rates[name], reference, rates[reference])
        for name, reference in PAIRS
    ]


@asynccontextmanager
async def _programs(folder: Path, stage: Stage, feed: PacedFeedProcess, many: int) -> AsyncIterator[dict[str, Program]]:
    """All programs, connected and stopped; the references first."""
    redis, ports = stage.redis.port, stage.ports
    async with AsyncExitStack() as stack:

        async def ready(pid: int, topic: Topic, count: int) -> Program:
            await feed.open(topic.name, count)
            program = await Program(pid, topic).ready()
            await stack.enter_async_context(topic.trimmed())
            return program

        managers: dict[str, Program] = {}
        topics: dict[str, Topic] = {}
        for name, options in DELIVERIES.items():
            topic = topics[name] = Topic(redis) if name == MESSAGE else BatchTopic(redis)
            urls = feed.gated(topic.name, FRAME_BYTES, many if name == MESSAGE else 1)
            manager = await stack.enter_async_context(managing(folder, f"m{len(managers)}", stage.sidecar.grpc_port))
            await manager.connect(urls, topic.name, **options)
            managers[name] = await ready(manager.pid, topic, len(urls))
        event = topics[MESSAGE].bare_event(folder)
        references: dict[str, Program] = {}
        for name, count in ((NAIVE, 1), (NAIVE_MANY, many), (BARE, many)):
            topic = Topic(redis)
            urls = feed.gated(topic.name, FRAME_BYTES, count)
            if name == BARE:
                command = ["bare_bulk", ports["DAPR_GRPC_PORT"], PUBSUB, topic.name, str(lanes()), str(event), *urls]
            else:
                command = ["naive_publish", PUBSUB, topic.name, *urls]
            out = folder / f"{len(references)}.out"
            pid = await stack.enter_async_context(running(*command, out=out, **ports))
            references[name] = await ready(pid, topic, count)
        yield references | managers
