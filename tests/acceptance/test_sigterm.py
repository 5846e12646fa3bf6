"""SIGTERM: an orderly stop, a drain that cannot finish, and the second signal."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.feed import FeedProcess, feeding, slot_of
from tests.acceptance.ledger import Ledger, Output
from tests.acceptance.manager import ManagerProcess, managing
from tests.peers import until

pytestmark = pytest.mark.acceptance

CONNECTIONS = 20
DEADLINE_S = 10  # the default of --drain-deadline-s


async def test_sigterm_publishes_what_was_read_closes_with_1001_and_leaves_the_records(tmp_path: Path):
    ledger = Ledger()
    async with feeding(tmp_path) as feed, managing(tmp_path) as manager:
        output = Output(manager.out, ledger.take)
        await manager.accept("connect", *feed.connects(CONNECTIONS))
        await output.until(lambda: ledger.frames > 10 * CONNECTIONS, "numbers come")
        asked_at = time.time()
        manager.process.send_signal(signal.SIGTERM)
        assert await manager.stopped() == 0
        assert time.time() - asked_at < DEADLINE_S
        output.read_all()
        await until(lambda: len(feed.told("closed")) == CONNECTIONS, "the feed has seen all of them leave")
        assert [line["closed"] for line in feed.told("closed")] == [1001] * CONNECTIONS
        ledger.check_all_published(feed.told("number"), slot_of, asked_at)

        await manager.start()
        await output.until(lambda: len(ledger.connected()) == 2 * CONNECTIONS, "all live again")
        frames = ledger.frames
        await output.until(lambda: ledger.frames > frames + 10 * CONNECTIONS, "numbers come again")
        assert manager.stop() == 0
        output.read_all()
        sent = feed.told("number")

    output.close()
    assert ledger.torn == 0
    ledger.check_sequences()
    assert not ledger.gaps("dropped")
    ledger.check_holes(sent, slot_of)


async def test_a_drain_that_cannot_finish_ends_at_its_deadline_and_what_it_lost_lies_in_a_gap(tmp_path: Path):
    ledger = Ledger()
    async with feeding(tmp_path) as feed, managing(tmp_path, "--drain-deadline-s", "1", piped=True) as manager:
        await _block(manager, feed)
        asked_at = time.time()
        manager.process.send_signal(signal.SIGTERM)
        assert await manager.stopped() == 0
        assert time.time() - asked_at < DEADLINE_S
        assert manager.logged("drain_incomplete")
        first = Output(manager.pipe, ledger.take)
        first.read_all()
        frames = ledger.frames

        await manager.restart()
        second = Output(manager.pipe, ledger.take)
        reading = asyncio.create_task(asyncio.to_thread(second.read_all))
        await until(lambda: len(ledger.connected()) == 2 * CONNECTIONS, "all live again")
        await until(lambda: ledger.frames > frames + 10 * CONNECTIONS, "numbers come again")
        manager.process.send_signal(signal.SIGTERM)
        assert await manager.stopped() == 0
        await reading
        sent = feed.told("number")

    assert ledger.torn == 0
    ledger.check_sequences()
    ledger.check_holes(sent, slot_of)
    lost = [numbers for numbers in ledger.numbers.values() if numbers.holes]
    assert len(lost) == CONNECTIONS  # else this test has seen nothing


async def test_a_second_sigterm_ends_a_drain_that_cannot_finish_at_once(tmp_path: Path):
    async with feeding(tmp_path) as feed, managing(tmp_path, "--drain-deadline-s", "60", piped=True) as manager:
        await _block(manager, feed)
        manager.process.send_signal(signal.SIGTERM)
        await until(lambda: manager.logged("stopping"), "the signal is taken")
        await until(lambda: len(feed.told("closed")) == CONNECTIONS, "the sockets are closed")
        await asyncio.sleep(0.5)
        assert manager.process.poll() is None, "the drain has finished"
        manager.process.send_signal(signal.SIGTERM)
        assert await manager.stopped(patience_s=5) == 128 + signal.SIGTERM


async def _block(manager: ManagerProcess, feed: FeedProcess) -> None:
    """Connect, and read nothing until frames pile up behind the pipe."""
    await manager.accept("connect", *feed.connects(CONNECTIONS))
    async with asyncio.timeout(30):
        while (await manager.ask("connection", id="c0"))["queuedMessages"] < 5:
            await asyncio.sleep(0.1)
