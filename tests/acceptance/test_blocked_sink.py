"""A sink that takes nothing while 200,000 frames arrive: memory stays within its bound, and no hole is silent."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.acceptance.feed import FeedProcess, feeding
from tests.acceptance.ledger import Ledger, Output
from tests.acceptance.manager import ManagerProcess, managing

pytestmark = pytest.mark.acceptance

FRAMES = 200_000
BOUND = 64 * 1024 * 1024
GROWTH = 1.1
PATIENCE_S = 60


class Blocked:
    """A manager whose output is a pipe that nobody reads yet, and the memory that it holds."""

    def __init__(self, manager: ManagerProcess, feed: FeedProcess) -> None:
        self.manager, self.feed, self.ledger = manager, feed, Ledger()
        self.output = Output(manager.pipe, self.ledger.take)
        self.rest = self.most = 0
        self.most_queued = 0

    async def connect(self, overflow: str) -> None:
        options = {"queueMaxBytes": BOUND, "queueMaxMessages": 10_000_000, "overflow": overflow}
        url = self.feed.url(f"burst/{FRAMES}/a")
        await self.manager.accept("connect", {"id": "a", "url": url, "topic": "t", "options": options})
        while not self.ledger.connected():
            assert self.output.read(PATIENCE_S)
        self.rest = self.manager.rss

    async def start_burst(self) -> None:
        await self.manager.accept("send", {"id": "a", "message": "go"})

    async def look(self) -> dict:
        """The connection as it says it is."""
        self.most = max(self.most, self.manager.rss)
        view = await self.manager.ask("connection", id="a")
        self.most_queued = max(self.most_queued, view["queuedBytes"])
        return view

    def read_to(self, number: int) -> None:
        """Be a sink again, until a number of the feed has come."""
        deadline = time.monotonic() + PATIENCE_S
        while "a" not in self.ledger.numbers or self.ledger.numbers["a"].last < number:
            assert self.output.read(PATIENCE_S), "the manager says no more"
            self.most = max(self.most, self.manager.rss)
            assert time.monotonic() < deadline, self.ledger.numbers

    def check(self) -> None:
        assert self.most_queued >= BOUND * 0.99, f"the bound was not reached: {self.most_queued}"
        growth = self.most - self.rest
        told = f"memory grew from {self.rest} by {growth} bytes, {growth / BOUND:.3f} times the bound"
        assert growth <= GROWTH * BOUND, told
        self.ledger.check_sequences()
        (run,) = self.ledger.runs.values()
        assert run.last == FRAMES


async def test_with_block_a_blocked_sink_bounds_memory_and_every_frame_arrives_in_order(tmp_path: Path):
    async with feeding(tmp_path) as feed, managing(tmp_path, piped=True) as manager:
        blocked = Blocked(manager, feed)
        await blocked.connect("block")
        await blocked.start_burst()
        async with asyncio.timeout(PATIENCE_S):
            while (await blocked.look())["queuedBytes"] < BOUND:
                await asyncio.sleep(0.1)
        await asyncio.sleep(1)
        assert not feed.told("burst"), "the feed was not pushed back"
        await blocked.look()
        await asyncio.to_thread(blocked.read_to, FRAMES - 1)
    blocked.check()
    assert blocked.ledger.frames == FRAMES
    assert not blocked.ledger.told("gap")


async def test_with_drop_oldest_a_blocked_sink_bounds_memory_and_every_hole_is_announced(tmp_path: Path):
    async with feeding(tmp_path) as feed, managing(tmp_path, piped=True) as manager:
        blocked = Blocked(manager, feed)
        await blocked.connect("drop_oldest")
        await blocked.start_burst()
        async with asyncio.timeout(PATIENCE_S):
            while (await blocked.look())["sequence"] < FRAMES:
                await asyncio.sleep(0.1)
        assert feed.told("burst")
        await blocked.look()
        await asyncio.to_thread(blocked.read_to, FRAMES - 1)
    blocked.check()
    (run,) = blocked.ledger.runs.values()
    lost = sum(last - first + 1 for first, last in run.holes)
    assert lost + blocked.ledger.frames == FRAMES
    assert lost > FRAMES / 3, "hardly anything was dropped"
