"""All connections cut at once: how late the event loop and the heartbeats are until they are back, and when that is.

The library alone dials again at once, with as many handshakes at a time as the manager.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import aiohttp
import orjson
from prometheus_client.parser import text_string_to_metric_families

from runtime.adapters.metrics import BUCKETS_S
from runtime.models.constants import DaprConstants
from runtime.models.wire import WireTime
from tests.acceptance.feed import FeedProcess, feeding
from tests.bench import crowd
from tests.bench.table import Group, Result, against, alone

CONNECTIONS = 5_000
ROUNDS = 1  # it takes half a minute
BEFORE_S, AFTER_S = 2.0, 2.0  # quiet first; and then what is still to be written
BEAT_S, LOOK_S, SCRAPE_S = 0.1, 0.02, 2.0
LIBRARY, MANAGER = "the library alone", "manager"
METER = "wsm_loop_tick_lag_seconds"
_LEASE = f"SELECT value FROM state WHERE key GLOB '{DaprConstants.INSTANCE_PREFIX}*'"
Ticks = Mapping[float, float]
"""Ticks by the upper end of the bucket that their delay falls into."""


@dataclass
class Storms:
    """What the storms of one program were like, a figure for each."""

    back_s: list[float] = field(default_factory=list)
    p99_s: list[float] = field(default_factory=list)
    worst_s: list[float] = field(default_factory=list)
    beat_s: list[float] = field(default_factory=list)

    def add(self, back_s: float, ticks: Ticks, worst_s: float, beat_s: float = 0.0) -> None:
        """One more."""
        self.back_s.append(back_s)
        self.p99_s.append(min(quantile(ticks, 0.99), worst_s))
        self.worst_s.append(worst_s)
        self.beat_s.append(beat_s)


async def measure(folder: Path, connections: int = CONNECTIONS, rounds: int = ROUNDS) -> Group:
    """The rows."""
    count = crowd.allow_files(connections)
    library, manager = Storms(), Storms()
    for number in range(rounds):
        place = folder / str(number)
        place.mkdir()
        async with feeding(place) as feed:
            await _of_library(place / "library", feed, count, library)
        async with feeding(place) as feed:
            await _of_manager(place / "manager", feed, count, manager)
    about = {"connections": count, "rounds": rounds, "handshakesAtOnce": crowd.HANDSHAKES}
    return Group(f"{count:,} connections cut at once", rows_of(library, manager), about)


def rows_of(library: Storms, manager: Storms) -> list[Result]:
    """Each figure of the manager against that of the library."""
    rows = []
    for what, of_library, of_manager in (
        ("loop lag p99", library.p99_s, manager.p99_s),
        ("worst loop lag", library.worst_s, manager.worst_s),
        ("all connected again", library.back_s, manager.back_s),
    ):
        reference = f"{LIBRARY}, {what}"
        rows.append(alone(reference, "ms", _ms(of_library)))
        rows.append(against(f"{MANAGER}, {what}", "ms", _ms(of_manager), reference, _ms(of_library)))
    return [*rows, alone(f"{MANAGER}, latest heartbeat", "ms", _ms(manager.beat_s))]


def dealt(lags_s: Iterable[float]) -> Ticks:
    """Delays in the buckets of the manager's meter."""
    ends = [*BUCKETS_S, float("inf")]
    return Counter(ends[bisect_left(ends, lag_s)] for lag_s in lags_s)


def quantile(ticks: Ticks, share: float) -> float:
    """The delay below which this share of them are, as Prometheus has it: within its bucket by straight line."""
    left, low = share * sum(ticks.values()), 0.0
    for high, count in sorted(ticks.items()):
        if left <= count:
            return low if high == float("inf") else low + (high - low) * left / max(count, 1)
        left, low = left - count, high
    return low


async def _of_library(folder: Path, feed: FeedProcess, count: int, storms: Storms) -> None:
    async with crowd.of_library(folder, feed, count) as program:
        await asyncio.sleep(BEFORE_S)
        before = len(program.others)
        back_s = await _cut(feed, program, count)
        lags = [float(line) for line in program.others[before:]]
        storms.add(back_s, dealt(lags), max(lags))


async def _of_manager(folder: Path, feed: FeedProcess, count: int, storms: Storms) -> None:
    beating = "--heartbeat-interval-s", str(BEAT_S)
    async with crowd.of_manager(folder, feed, count, *beating) as (program, port):
        await asyncio.sleep(BEFORE_S)
        before, _ = await _metered(port)
        beats: list[float] = []
        worst: list[float] = []
        looking = [
            asyncio.create_task(_look_at_beats(folder / "data" / "state.db", beats)),
            asyncio.create_task(_look_at_lag(port, worst)),
        ]
        back_s = await _cut(feed, program, count)
        after, last = await _metered(port)
        for task in looking:
            task.cancel()
        ticks = {high: after[high] - before[high] for high in after}
        latest_s = max(later - earlier for earlier, later in pairwise(beats)) - BEAT_S
        storms.add(back_s, ticks, max(last, *worst), latest_s)


async def _look_at_beats(file: Path, beats: list[float]) -> None:
    """Note the time of each beat that the store shows, until cancelled."""
    with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as db:
        while True:
            ((value,),) = db.execute(_LEASE).fetchall()
            beat_at = WireTime.parse(orjson.loads(value)["beatAt"]).timestamp()
            if not beats or beats[-1] != beat_at:
                beats.append(beat_at)
            await asyncio.sleep(LOOK_S)


async def _look_at_lag(port: int, worst: list[float]) -> None:
    """Note the longest lag before it is forgotten, until cancelled."""
    while True:
        _, lag_s = await _metered(port)
        worst.append(lag_s)
        await asyncio.sleep(SCRAPE_S)


async def _cut(feed: FeedProcess, program: crowd.Crowd, count: int) -> float:
    """How long it takes until all are back."""
    before, start = program.connects, time.monotonic()
    feed.cut()
    await program.until(before + count)
    back_s = time.monotonic() - start
    await asyncio.sleep(AFTER_S)
    return back_s


async def _metered(port: int) -> tuple[dict[float, float], float]:
    """Ticks since the start, and the longest lag of the last ten seconds."""
    url = f"http://127.0.0.1:{port}/metrics"
    async with aiohttp.ClientSession(trust_env=False) as session, session.get(url) as answer:
        page = await answer.text()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    (worst_s,) = [sample.value for sample in samples if sample.name == "wsm_loop_lag_seconds"]
    below = sorted((float(each.labels["le"]), each.value) for each in samples if each.name == f"{METER}_bucket")
    return {high: count - less for (_, less), (high, count) in pairwise([(0.0, 0.0), *below])}, worst_s


def _ms(seconds: Iterable[float]) -> list[float]:
    return [1000 * each for each in seconds]
