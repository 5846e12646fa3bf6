"""`K_SINK`: CloudEvents to a receiver built with the SDK that fails and is restarted, from a manager that is killed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.acceptance.ce_receiver import ReceiverProcess
from tests.acceptance.feed import FeedProcess, feeding, slot_of
from tests.acceptance.ledger import Ledger, Output
from tests.acceptance.manager import managing

pytestmark = pytest.mark.acceptance

CONNECTIONS, ROUND_S = 10, 0.1
AWAY_S = 1.5
FRAMES = 60 * CONNECTIONS  # so that each kind of the receiver's faults has happened
OVERRIDES = '{"extensions": {"team": "feeds"}}'


class Arrivals:
    """What has arrived for the first time, in its order; a repeat must say the same."""

    def __init__(self, mode: str) -> None:
        self.ledger, self.repeats, self._mode = Ledger(), 0, mode
        self._known: dict[str, dict[str, Any]] = {}

    def take(self, line: bytes) -> None:
        event = orjson.loads(line)
        assert (event["mode"], event["team"], event["specversion"]) == (self._mode, "feeds", "1.0")
        known = self._known.setdefault(event["id"], event)
        if known is event:
            self.ledger.take_event(event)
        else:
            self.repeats += 1
            assert known == event, f"two events are called {event['id']}"


@pytest.mark.parametrize("mode", ["binary", "structured"])
async def test_a_receiver_that_fails_and_restarts_gets_all_of_a_manager_that_is_killed_save_announced_gaps(
    tmp_path: Path, mode: str
):
    receiver, arrivals = ReceiverProcess(tmp_path), Arrivals(mode)
    ledger = arrivals.ledger
    env = {"K_SINK": receiver.url, "K_CE_OVERRIDES": OVERRIDES}
    output = Output(receiver.file, arrivals.take)
    try:
        async with feeding(tmp_path, ROUND_S) as feed, managing(tmp_path, "--sink-mode", mode, env=env) as manager:
            await manager.accept("connect", *feed.connects(CONNECTIONS))  # before there is anybody to receive
            await manager.until(lambda: manager.logged("publish_failed"), patience_s=20)
            await asyncio.to_thread(receiver.start)
            await output.until(lambda: ledger.frames > FRAMES, "numbers come")
            assert arrivals.repeats, "the receiver has hung up after it had taken an event, and none came again"

            receiver.kill()
            await asyncio.sleep(AWAY_S)
            await asyncio.to_thread(receiver.start)
            await output.until(_fresh(ledger, feed), "what was sent meanwhile has come, and more")
            output.read_all()
            ledger.check_sequences()
            assert not [run for run in ledger.runs.values() if run.holes], "the receiver was away, and frames are lost"
            assert not ledger.gaps("blind")

            manager.kill()
            await manager.start()
            await output.until(lambda: len(ledger.connected()) == 2 * CONNECTIONS, "all live again")
            await output.until(_fresh(ledger, feed), "numbers come again")
            asked_at = time.time()
            assert manager.stop() == 0
            output.read_all()
            sent = feed.told("number")
    finally:
        receiver.kill()
        output.close()

    ledger.check_sequences()
    missing = ledger.check_holes(sent, slot_of)
    assert missing >= CONNECTIONS, "this test has seen no hole"
    assert not ledger.gaps("dropped")
    assert min(numbers.last for numbers in ledger.numbers.values()) >= _last_before(sent, asked_at)
    assert not [event for event in ledger.others if event["source"] != "websocket-manager"]


def _fresh(ledger: Ledger, feed: FeedProcess) -> Any:
    """Whether each connection has published a number that is sent only from now on."""
    now = max(line["number"] for line in feed.told("number"))
    return lambda: all(numbers.last > now + 2 for numbers in ledger.numbers.values())


def _last_before(sent: list[dict[str, Any]], at: float) -> int:
    """The number of the last round that was over well before a Unix time."""
    return max(line["number"] for line in sent if line["at"] < at - 10 * ROUND_S)
