"""How events and logs look to a person, and that nothing of a peer steers the terminal."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from runtime.adapters.event_lines import MAX_SHOWN, event_line, text_of
from runtime.adapters.log import Log

FRAME = {"websocketId": "a", "epoch": 3, "sequence": 1, "payload": "hello"}
GAP = {"connectionId": "a", "reason": "why"}
OUTCOME = {"connectionId": "a", "command": "send", "status": "done", "reason": "sent"}


@pytest.mark.parametrize(
    ("kind", "data", "text"),
    [
        ("frame", FRAME, "a #3.1 hello"),
        ("frames", [FRAME, {**FRAME, "sequence": 2, "payload": "bye"}], "a #3.1-2 2 frames, the last bye"),
        ("frames", [], "[]"),
        ("frames", ["of another kind"], '["of another kind"]'),
        ("status", {"connectionId": "a", "status": "Connected"}, "a Connected"),
        (
            "status",
            {"connectionId": "a", "status": "Reconnecting", "reason": "lost", "attempt": 2, "retryInS": 1.26},
            "a Reconnecting (lost, attempt 2 in 1.3 s)",
        ),
        ("gap", {**GAP, "kind": "dropped", "fromSequence": 1, "toSequence": 3}, "a dropped 1 to 3: why"),
        (
            "gap",
            {**GAP, "kind": "blind", "fromTime": "2026-01-31T12:00:00.123456Z", "toTime": "2026-01-31T12:00:01.5Z"},
            "a blind from 12:00:00.123 to 12:00:01.5Z: why",
        ),
        ("outcome", OUTCOME, "a send: done (sent)"),
        ("answer", {**OUTCOME, "connectionId": None, "answer": "42"}, "? send: done (sent) → 42"),
        ("notice", {"connectionId": None, "reason": "3 lost"}, "3 lost"),
        ("notice", {"connectionId": "a", "reason": "garbage"}, "a: garbage"),
        ("sent", {"any": 1}, '{"any":1}'),
        ("frame", {"of": "another kind"}, '{"of":"another kind"}'),
        ("status", [{"of": "another kind"}], '[{"of":"another kind"}]'),
        ("sent", json.loads("[" * 300 + "]" * 300), "JSON that is nested too deeply to be shown"),
    ],
)
def test_an_event_is_told_in_words(kind: str, data: Any, text: str):
    assert text_of(kind, data) == text


def test_a_line_has_time_kind_topic_and_text():
    event = {"type": "io.websocket-manager.frame", "time": "2026-01-31T12:00:00.123456Z", "topic": "t", "data": FRAME}
    assert event_line(event).plain == "12:00:00.123 frame    t a #3.1 hello"
    assert event_line({"data": "text"}).plain.endswith("text")


def test_what_is_long_is_cut_with_its_length():
    text = text_of("frame", {**FRAME, "payload": "x" * 1000})
    assert text == f"a #3.1 {'x' * MAX_SHOWN}… (1000 characters)"


@pytest.mark.parametrize("payload", ["\x1b[2J", "a\nb", "\r", "\x9b31m", "\x07"])
def test_no_payload_steers_the_terminal(payload: str):
    shown = event_line({"type": "x.frame", "data": {**FRAME, "payload": payload}}).plain
    assert shown.isprintable()
    assert event_line({"type": "x", "data": payload}).plain.isprintable()
    assert event_line({"type": f"x.{payload}", "topic": payload, "time": payload * 20, "data": 1}).plain.isprintable()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_is_json_lines_unless_a_person_reads():
    piped, terminal, asked, machine = io.StringIO(), Terminal(), io.StringIO(), Terminal()
    Log(stream=piped).log("started", port=1)
    line = json.loads(piped.getvalue())
    assert (line["event"], line["level"], line["port"]) == ("started", "info", 1)
    Log(stream=terminal).warn("failed", reason="why")
    assert "\x1b[" in terminal.getvalue()
    Log("console", asked).log("started", port=1)
    assert "started" in asked.getvalue()
    assert "\x1b[" not in asked.getvalue()
    Log("json", machine).warn("failed")
    assert json.loads(machine.getvalue())["level"] == "warning"


def test_a_log_that_cannot_be_written_stops_nothing():
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    observer = Log(stream=Broken())
    observer.log("started")
    observer.warn("failed")
