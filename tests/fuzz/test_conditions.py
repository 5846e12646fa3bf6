"""Conditions on messages, from any payload: what is met is what the JSON says, and nothing of a peer breaks a life."""

from __future__ import annotations

import json
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from runtime.correlation import Expectation, expect, lacks_value
from runtime.errors import InvalidInputError
from runtime.models.commands import Match
from runtime.models.condition import Condition
from tests.fuzz.effort import effort
from tests.fuzz.plausible import condition
from tests.fuzz.values import anything, as_bytes, mutated, mutated_bytes, places, value

_json = (anything | value).map(as_bytes)
_deep = (st.integers(1, 1100) | st.sampled_from([1000, 1024])).map(lambda levels: "[" * levels + "]" * levels)
_payload = st.one_of(
    _deep, _json, _json.map(bytes.decode), mutated_bytes(_json), st.binary(max_size=40), st.text(max_size=20)
)
_sent = _payload.map(lambda found: found if isinstance(found, bytes) else found.encode(errors="replace").decode())


def pointer_to(path: tuple[Any, ...]) -> str:
    """The JSON pointer of a place."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


@effort(300)
@given(mutated(condition, most=1), _sent)
def test_a_condition_is_refused_or_met_or_not_and_never_breaks(said: Any, payload: str | bytes):
    try:
        expectation = Expectation.of(Condition.read(orjson.loads(as_bytes(said))))
    except (InvalidInputError, orjson.JSONDecodeError):
        return
    if expectation.is_met_by(payload) and expectation.contains is not None:
        assert expectation.contains.encode() in (payload if isinstance(payload, bytes) else payload.encode())


@effort(300)
@given(value, st.data())
def test_a_pointer_leads_to_each_value_and_to_nothing_else(document: Any, data: st.DataObject):
    document = orjson.loads(as_bytes(document))
    path = data.draw(st.sampled_from(list(places(document))))
    found = document
    for key in path:
        found = found[key]
    pointer = pointer_to(path)
    assert Expectation(pointer, found, None).is_met_by(json.dumps(document))
    assert not Expectation(pointer, [found], None).is_met_by(json.dumps(document))
    assert not Expectation(f"{pointer}/~0none~0", found, None).is_met_by(json.dumps(document))


@effort(300)
@given(_sent, _sent, st.sampled_from(["", "/0", "/id", "/a~1b", "/00"]))
def test_any_answer_to_any_question_is_judged(sent: str | bytes, answer: str | bytes, pointer: str):
    match = Match(pointer=pointer)
    assert isinstance(expect(match, sent).is_met_by(answer), bool)
    repeats = expect(match, sent).is_met_by(sent)
    assert not (repeats and lacks_value(match, sent))
