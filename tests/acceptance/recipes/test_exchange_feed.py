"""The recipe of an exchange feed: numbers without a hole over rotations, few dials, a silent feed that is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.recipes.exchange import SYMBOLS, Exchange, trading
from tests.acceptance.recipes.page import Page
from tests.acceptance.recipes.reader import Reader, following

pytestmark = pytest.mark.acceptance
EXCHANGE = "wss://stream.exchange.example"


def _page(exchange: Exchange, **paced: float) -> Page:
    return Page("exchange-feed.md", {EXCHANGE: exchange.place}, paced)


def _trades(reader: Reader) -> dict[str, list[int]]:
    """The numbers of each symbol, as they were published."""
    payloads = [frame["payload"] for frame in reader.told("manager", "frame")]
    trades = [payload for payload in payloads if payload["e"] == "trade"]
    return {symbol: [trade["t"] for trade in trades if trade["s"] == symbol] for symbol in SYMBOLS}


def _first_arrivals(numbers: list[int]) -> list[int]:
    return list(dict.fromkeys(numbers))


def _is_wait(status: dict[str, Any]) -> bool:
    return "of which there may be 1 in 2 s" in (status["reason"] or "")


async def test_no_number_is_missing_over_rotations_by_age_and_by_announcement(tmp_path: Path):
    async with trading(Exchange(day_s=9)) as exchange:
        page = _page(exchange, stableAfterS=1, idleTimeoutS=2.5, maxAgeS=3)
        async with following(page, tmp_path, WSM_ALLOW_PRIVATE="true") as reader:
            await reader.begin_manager("manager")
            await reader.begin("consumer")
            await reader.run("apply")
            await reader.run("look")
            await reader.until(lambda: min(exchange.subscribed[symbol] for symbol in SYMBOLS) >= 4, "three rotations")

            before = exchange.subscribed.copy()
            await exchange.announce_the_end()
            soon_s = 2.4  # less than an age: those that have just been subscribed are not due yet
            await reader.until(
                lambda: all(exchange.subscribed[symbol] > before[symbol] for symbol in SYMBOLS), "announced", soon_s
            )
            until = exchange.number + 20
            await reader.until(lambda: min(map(max, _trades(reader).values())) > until, "the feed goes on")

            for symbol, numbers in _trades(reader).items():
                first = _first_arrivals(numbers)
                assert first == list(range(first[0], first[-1] + 1)), f"{symbol}: a hole, or not in order: {first}"
                assert len(numbers) > len(first), "nothing came twice: what is told of repeats is not tested"
                assert exchange.at_once[symbol] == 2, f"{symbol}: the old socket was closed first, or never"
            assert exchange.cuts == 0, "the exchange has cut what should have been exchanged before"
            assert set(exchange.left_with) == {1000}
            assert reader.told("manager", "gap") == []
            for id_ in ("trades-btc", "trades-eth"):
                frames = [frame for frame in reader.told("manager", "frame") if frame["websocketId"] == id_]
                assert [frame["sequence"] for frame in frames] == list(range(1, len(frames) + 1))
                assert len({frame["epoch"] for frame in frames}) == 1
            assert not [frame for frame in reader.told("manager", "frame") if "id" in frame["payload"]]

            read = [line.split() for line in reader.lines("consumer")]
            for symbol in SYMBOLS:
                seen = [int(number) for name, number in read if name == symbol]
                assert len(seen) > 50
                assert seen == list(range(seen[0], seen[-1] + 1)), "the consumer's program saw a hole or a repeat"
            page.check_all_used()


async def test_the_dial_budget_is_kept_and_a_silent_feed_is_dialled_anew_with_its_gap_told(tmp_path: Path):
    limits = {"dials-per-host": 1, "dial-window-s": 2}
    async with trading(Exchange(dials=1, window_s=1)) as exchange:
        page = _page(exchange, stableAfterS=0.5, idleTimeoutS=1.5, **limits)
        async with following(page, tmp_path, WSM_ALLOW_PRIVATE="true") as reader:
            await reader.begin_manager("manager")
            await reader.run("apply")
            await reader.until(lambda: any(map(_is_wait, reader.told("manager", "status"))), "a dial is told to wait")
            await reader.until(lambda: all(exchange.subscribed[symbol] for symbol in SYMBOLS), "both in turn")
            await reader.run("look")

            exchange.fall_silent()
            await reader.until(lambda: all(exchange.subscribed[symbol] > 1 for symbol in SYMBOLS), "dialled anew")
            await reader.until(lambda: len(reader.told("manager", "gap")) >= 2, "both gaps are told")
            assert {(gap["kind"], gap["connectionId"]) for gap in reader.told("manager", "gap")} == {
                ("blind", "trades-btc"),
                ("blind", "trades-eth"),
            }
            assert all("idleTimeoutS" in gap["reason"] for gap in reader.told("manager", "gap"))
            assert exchange.too_many == 0
