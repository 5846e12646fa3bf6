"""Frames a second as connections and frames grow, to a null sidecar, against the library alone at the same shape."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench.null_sidecar import running_null
from tests.bench.on_null import BATCH, MESSAGE, RAW, Programs, Shape
from tests.bench.paced_feed import pacing_feed
from tests.bench.table import Group, Result, against, alone

ROUNDS = 5
KINDS = RAW, MESSAGE, BATCH
KIB = 1024
SHAPES = (
    *(Shape(connections, 200) for connections in (1, 10, 100, 1_000)),
    *(Shape(10, frame_bytes) for frame_bytes in (50, 4 * KIB, 256 * KIB)),
)

MANY, TIMES_S, TIMES_WITH_MANY_S = 1_000, (0.6, 1.0), (1.5, 2.5)

NOTE = """\
raw: websockets on uvloop, reading and counting. The manager, delivery message or batch, to a sidecar that acknowledges
at once. A call of delivery message takes one frame of each connection, so that few connections make small calls."""


async def measure(folder: Path, rounds: int = ROUNDS, shapes: Sequence[Shape] = SHAPES) -> Group:
    """The rows."""
    rows: list[Result] = []
    async with pacing_feed(folder) as feed:
        for number, shape in enumerate(shapes):
            (own := folder / str(number)).mkdir()
            rates: dict[str, list[float]] = defaultdict(list)
            times_s = TIMES_WITH_MANY_S if shape.connections >= MANY else TIMES_S
            async with running_null() as null, AsyncExitStack() as stack:
                start = Programs(own, feed, null, stack).start
                programs = {kind: await start(kind, shape) for kind in KINDS}
                for _ in range(rounds):
                    for kind, program in programs.items():
                        rates[kind].append((await program.rate(*times_s)).per_s)
            reference = f"{RAW}, {shape}"
            rows.append(alone(reference, "frames/s", rates[RAW]))
            rows += [
                against(f"{kind}, {shape}", "frames/s", rates[kind], reference, rates[RAW]) for kind in (MESSAGE, BATCH)
            ]
    return Group("As connections and frames grow, to a null sidecar", rows, {"rounds": rounds}, NOTE)
