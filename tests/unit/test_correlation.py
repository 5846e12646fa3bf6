"""Which message answers a request."""

from __future__ import annotations

import json

import pytest

from runtime.correlation import expect
from runtime.models.commands import Match

SENT = json.dumps({"id": 7, "params": ["a", {"b/c": 1, "d~e": None}]})


@pytest.mark.parametrize(
    ("match", "payload", "is_answer"),
    [
        (Match(), "anything", True),
        (Match(contains="pong"), "a pong here", True),
        (Match(contains="pong"), b"\x00pong", True),
        (Match(contains="pong"), "ping", False),
        (Match(pointer="/id"), '{"id": 7}', True),
        (Match(pointer="/id"), b'{"id": 7}', True),
        (Match(pointer="/id"), '{"id": "7"}', False),
        (Match(pointer="/id"), "{}", False),
        (Match(pointer="/id"), "not JSON", False),
        (Match(pointer="/id"), "7", False),
        (Match(pointer="/id", equals="x"), '{"id": "x"}', True),
        (Match(pointer="/params/0"), '{"params": ["a"]}', True),
        (Match(pointer="/params/1/b~1c"), '{"params": [0, {"b/c": 1}]}', True),
        (Match(pointer="/params/1/d~0e", equals=3), '{"params": [0, {"d~e": 3}]}', True),
        (Match(pointer="/params/9", equals=1), '{"params": [1]}', False),
        (Match(pointer="/params/²", equals=1), '{"params": [1, 1, 1]}', False),
        (Match(pointer="/params/-", equals=1), '{"params": [1]}', False),
        (Match(pointer="/params/00", equals=1), '{"params": [1]}', False),
        (Match(pointer="/params/\u0660", equals=1), '{"params": [1]}', False),
        (Match(pointer="/id", equals=[{"a": 1}]), '{"id": [{"a": 1.0}]}', True),
        (Match(pointer="/id", equals=[{"a": 1}]), '{"id": [{"a": true}]}', False),
        (Match(pointer="", equals={"a": 1}), '{"a": 1}', True),
        (Match(pointer="/id", contains="late"), '{"id": 7, "note": "late"}', True),
        (Match(pointer="/id", contains="late"), '{"id": 7}', False),
    ],
)
def test_a_message_is_the_answer_if_it_fits_all_that_is_asked(match: Match, payload: str | bytes, is_answer: bool):
    assert expect(match, SENT).is_met_by(payload) is is_answer


def test_a_question_without_the_value_that_its_answer_should_repeat_has_no_answer():
    expectation = expect(Match(pointer="/missing"), SENT)
    assert not expectation.is_met_by("{}")
    assert not expectation.is_met_by(SENT)


def test_a_value_that_is_nested_too_deeply_to_be_compared_is_no_answer():
    deep = json.dumps({"id": 0}).replace("0", "[" * 1020 + "]" * 1020)
    assert not expect(Match(pointer="/id"), deep).is_met_by(deep)
