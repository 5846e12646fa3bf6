"""`wsm demo` at a faster pace: the whole story with real sockets, and its failures told plainly."""

from __future__ import annotations

import asyncio
import io
import re

import orjson
import pytest
from rich.console import Console
from websockets.asyncio.client import connect

import runtime.demo
from runtime.demo import Screen, run_demo
from runtime.errors import PermanentError
from runtime.feed import Feed, local_feed
from tests.wsm import wsm

pytestmark = pytest.mark.integration
WIDTH = 80


def play(**pace: float) -> tuple[int, str]:
    out = io.StringIO()
    code = run_demo(Console(file=out, highlight=False, width=WIDTH), **pace)
    return code, out.getvalue()


def test_the_story_is_told_whole_in_plain_text_that_fits_80_columns():
    code, text = play(pace_s=0.05)
    assert code == 0
    assert [line[0] for line in text.splitlines() if re.match(r"\d\. ", line)] == ["1", "2", "3", "4"]
    kinds = [line.split()[0] for line in text.splitlines() if line.startswith("  ") and line.split()]
    assert {"outcome", "status", "frame", "gap"} <= set(kinds)
    for told in (
        "demo Connected",
        "demo Reconnecting",
        "demo blind from",
        "send: done",
        '"answer":42',
        "demo Disconnected",
    ):
        assert told in text
    assert "\x1b" not in text
    assert "secret" not in text
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "Done." in text


def test_a_long_line_goes_on_under_its_own_begin_and_breaks_between_words():
    _, text = play(pace_s=0.05)
    lines = text.splitlines()
    index = next(i for i, line in enumerate(lines) if "demo Reconnecting" in line)
    assert lines[index + 1].startswith(" " * 11)
    joined = " ".join(line.strip() for line in lines[index : index + 2])
    assert "the connection broke without a close frame (1006), attempt 1 in" in joined


def test_a_step_that_does_not_happen_is_named_and_ends_with_1(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Feed, "cut", lambda self, away_s: None)
    code, text = play(pace_s=0.05, patience_s=3)
    assert code == 1
    assert text.splitlines()[-1] == "The demonstration failed: Reconnecting did not come within 3 s."


def test_a_manager_that_does_not_start_ends_with_1_and_its_reason(monkeypatch: pytest.MonkeyPatch):
    async def story(*_: object) -> None:
        raise PermanentError("no room")

    monkeypatch.setattr(runtime.demo, "_story", story)
    code, text = play()
    assert code == 1
    assert "no room" in text


def test_the_command_ends_with_the_code_of_the_story(monkeypatch: pytest.MonkeyPatch):
    for code in (0, 1):
        monkeypatch.setattr(runtime.demo, "run_demo", lambda code=code: code)
        assert wsm("demo").code == code


async def test_the_screen_takes_each_event_once():
    screen = Screen(Console(file=io.StringIO()), patience_s=0.1)
    screen.seen = [("frame", {"n": 1}), ("status", {"status": "Connected"}), ("frame", {"n": 2})]
    await screen.until("a status", "status", status="Connected")
    await screen.until("a frame", "frame")
    with pytest.raises(runtime.demo.DemoFailed, match="another frame did not come"):
        await screen.until("another frame", "frame")


async def test_the_feed_counts_on_while_nobody_listens_and_answers_only_questions():
    async with local_feed(0.02) as feed:
        async with connect(feed.url) as socket:
            first = orjson.loads(await socket.recv())["n"]
            await socket.send("no JSON")
            await socket.send("[1]")
            await socket.send('{"id": 5}')
            while "answer" not in (message := orjson.loads(await socket.recv())):
                assert message["n"] >= first
            assert message == {"id": 5, "answer": 42}
            assert feed.heard == ["no JSON", "[1]", '{"id": 5}']
            before = feed.number
            feed.cut()
        while feed.number <= before:
            await asyncio.sleep(0.01)
        async with connect(feed.url) as socket:
            assert orjson.loads(await socket.recv())["n"] > before
