"""A thousand connections at ten messages a second for a minute."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path
from statistics import median

import pytest

from tests.acceptance.feed import SLOTS, feeding, slot_of
from tests.acceptance.ledger import Ledger, Output
from tests.acceptance.manager import managing

pytestmark = pytest.mark.acceptance

CONNECTIONS = 1000
MINUTE_S = 60
GROWTH = 1.05


async def test_a_thousand_connections_for_a_minute_lose_nothing_and_memory_stays_level(tmp_path: Path):
    ledger = Ledger()
    memory: list[int] = []
    async with feeding(tmp_path) as feed, managing(tmp_path) as manager:
        output = Output(manager.out, ledger.take)
        await manager.accept(
            "connect",
            *({"id": f"c{n}", "url": feed.url(f"numbers/{n % SLOTS}/{n}"), "topic": "t"} for n in range(CONNECTIONS)),
        )
        await output.until(lambda: len(ledger.connected()) == CONNECTIONS, "all are live", 60)
        start, frames = time.monotonic(), ledger.frames
        while (passed := time.monotonic() - start) < MINUTE_S:
            if passed >= len(memory):
                memory.append(manager.rss)
            output.read_all()
            await asyncio.sleep(0.1)
        rounds = (ledger.frames - frames) / CONNECTIONS
        asked_at = time.time()
        manager.process.send_signal(signal.SIGTERM)
        assert await manager.stopped(patience_s=60) == 0  # how soon is the promise of another test
        output.read_all()
        sent = feed.told("number")

    output.close()
    ledger.check_sequences()
    assert not ledger.told("gap")
    assert len(ledger.numbers) == CONNECTIONS
    ledger.check_all_published(sent, slot_of, asked_at)
    assert rounds > 0.95 * MINUTE_S * 10, f"only {rounds:.0f} rounds came in a minute: feed or manager did not keep up"
    before, after = median(memory[20:40]), median(memory[40:60])
    assert after <= GROWTH * before, f"{before} bytes, then {after}; each second: {memory}"
