"""SIGKILL of a manager with 200 live connections: all come back by themselves, and every hole is announced."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from tests.acceptance.feed import SLOTS, FeedProcess, feeding
from tests.acceptance.ledger import Ledger, Output, seconds
from tests.acceptance.manager import managing
from tests.peers import until

pytestmark = pytest.mark.acceptance

LIVE, AWAY = 200, 5
ROUND_S = 0.1
QUICK = {"reconnectAttempts": 0, "reconnectBaseDelayS": 0.1, "reconnectMaxDelayS": 0.5}


async def test_after_sigkill_all_live_again_and_every_hole_is_announced_and_what_waited_is_sent(tmp_path: Path):
    ledger = Ledger()
    async with feeding(tmp_path, ROUND_S) as feed, managing(tmp_path) as manager:
        output = Output(manager.out, ledger.take)
        await manager.accept("connect", *_live(feed), *_away(feed))
        await output.until(lambda: len(ledger.connected()) == LIVE, "all are live")
        await output.until(lambda: ledger.frames > 10 * LIVE, "numbers have come")
        await manager.accept("send", *({"id": f"away-{n}", "message": f"waits-{n}"} for n in range(AWAY)))
        await manager.accept("send", *({"id": f"live-{n}", "message": f"last-{n}"} for n in range(LIVE)))
        killed_at = time.time()
        manager.kill()
        last_word = _last_word(tmp_path / "data" / "state.db")
        output.read_all()
        before = dict(ledger.runs.keys())
        assert len(before) == LIVE

        await manager.start()
        await output.until(lambda: len(ledger.connected()) == 2 * LIVE, "all are live again")
        feed.open_later()
        frames = ledger.frames
        await output.until(lambda: len(ledger.connected()) == 2 * LIVE + AWAY, "all others live too")
        await output.until(lambda: ledger.frames > frames + 10 * LIVE, "numbers have come again")
        waited = {f"waits-{n}" for n in range(AWAY)} | {f"last-{n}" for n in range(LIVE)}
        await until(lambda: waited <= {line["heard"] for line in feed.told("heard")}, "what waited is sent")
        await output.until(lambda: _done(ledger) >= AWAY, "what waited has an outcome")
        assert manager.stop() == 0
        output.read_all()
        sent = feed.told("number")

    output.close()
    ledger.check_sequences()
    assert ledger.torn <= 1
    assert not [run for run in ledger.runs.values() if run.holes]
    _check_epochs(ledger, before)
    _check_gaps(ledger, before, last_word, killed_at)
    missing = ledger.check_holes(sent, _slot)
    assert missing >= LIVE  # a restart takes longer than a few rounds: this test has seen holes


def _live(feed: FeedProcess) -> list[dict]:
    return [
        {"id": f"live-{n}", "url": feed.url(f"numbers/{n % SLOTS}/{n}"), "topic": "t", "autoReconnect": True}
        for n in range(LIVE)
    ]


def _away(feed: FeedProcess) -> list[dict]:
    """Connections whose peer takes no dial yet."""
    return [
        {
            "id": f"away-{n}",
            "url": feed.url(f"numbers/0/away-{n}", later=True),
            "topic": "t",
            "autoReconnect": True,
            "options": QUICK,
        }
        for n in range(AWAY)
    ]


def _slot(connection_id: str) -> int:
    kind, _, number = connection_id.partition("-")
    return int(number) % SLOTS if kind == "live" else 0


def _done(ledger: Ledger) -> int:
    """How many messages have an outcome that waited for a peer which took no dial."""
    done = [outcome for outcome in ledger.told("outcome") if outcome["status"] == "done"]
    return len({outcome["commandId"] for outcome in done if outcome["connectionId"].startswith("away-")})


def _check_epochs(ledger: Ledger, before: dict[str, int]) -> None:
    """Each connection has two epochs, and the second is the higher one."""
    after = dict(ledger.runs.keys())
    stuck = [connection_id for connection_id, epoch in before.items() if after[connection_id] <= epoch]
    assert not stuck, f"no higher epoch: {stuck}"


def _last_word(state: Path) -> float:
    """The Unix time up to which all is published that was read, as the lease of the manager says."""
    with closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True)) as db:
        ((lease,),) = db.execute("SELECT value FROM state WHERE key LIKE 'websocket.instance.%'")
    return seconds(orjson.loads(lease)["readUntil"])


def _check_gaps(ledger: Ledger, before: dict[str, int], last_word: float, killed_at: float) -> None:
    """Each connection has one gap, of its new epoch, inside the time from the last word to its Connected."""
    gaps = [gap for gap in ledger.gaps("blind") if gap["connectionId"] in before]
    assert sorted(gap["connectionId"] for gap in gaps) == sorted(before)
    connected = ledger.connected()
    faults = []
    for gap in gaps:
        key = gap["connectionId"], gap["epoch"]
        begin, end = seconds(gap["fromTime"]) - killed_at, seconds(gap["toTime"]) - killed_at
        live = seconds(connected[key]["at"]) - killed_at
        if not last_word - killed_at <= begin <= end <= live:
            faults.append(f"{key}: gap from {begin:+.3f} s to {end:+.3f} s of the kill; Connected at {live:+.3f} s")
    assert not faults, "\n".join(faults[:20])
