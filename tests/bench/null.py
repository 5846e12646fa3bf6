"""Frames a second to a sidecar that acknowledges everything, against the library alone: what the manager allows."""

from __future__ import annotations

from collections import defaultdict
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench import on_null
from tests.bench.null_sidecar import running_null
from tests.bench.on_null import Programs, Shape
from tests.bench.paced_feed import pacing_feed
from tests.bench.table import Group, against, alone
from tests.bench.turns import WARM_UP_S, WINDOW_S

ROUNDS, FRAME_BYTES = 5, 200
RAW, BATCH, PICOWS = (
    "raw receive, 1 connection",
    "batch, 1 connection, null sidecar",
    "picows as the reader, null sidecar",
)
KINDS = {RAW: on_null.RAW, BATCH: on_null.BATCH, PICOWS: on_null.PICOWS}

NOTE = """\
raw receive: websockets on uvloop, reading and counting. The null sidecar acknowledges at once; it counts envelopes.
picows: a bare program with this reader that puts frames into the same envelopes and batches, and publishes them; no
option of the manager. The null sidecar takes {capacity:,.0f} envelopes/s of one such batch that is published over and
over, without a feed."""


async def measure(
    folder: Path, rounds: int = ROUNDS, warm_up_s: float = WARM_UP_S, window_s: float = WINDOW_S
) -> Group:
    """The rows."""
    rates: dict[str, list[float]] = defaultdict(list)
    async with pacing_feed(folder) as feed, running_null() as null, AsyncExitStack() as stack:
        start = Programs(folder, feed, null, stack).start
        programs = {name: await start(kind, Shape(1, FRAME_BYTES)) for name, kind in KINDS.items()}
        for _ in range(rounds):
            for name, program in programs.items():
                rates[name].append((await program.rate(warm_up_s, window_s)).per_s)
        capacity = (await (await start(on_null.CALLS, Shape(1, FRAME_BYTES))).rate(warm_up_s, window_s)).per_s
    rows = [alone(RAW, "frames/s", rates[RAW])]
    rows += [against(name, "frames/s", rates[name], RAW, rates[RAW]) for name in KINDS if name != RAW]
    about = {"frameBytes": FRAME_BYTES, "rounds": rounds, "windowS": window_s, "nullCapacity": round(capacity)}
    return Group(f"{FRAME_BYTES}-byte frames to a null sidecar", rows, about, NOTE.format(capacity=capacity))
