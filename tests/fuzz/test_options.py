"""Options of a connection from any JSON: a model that keeps what it was given, or one error that says where and why."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InvalidInputError
from runtime.models.connection import HeldConnection, WebSocketConnection
from runtime.models.option_limits import OptionLimits
from runtime.models.options import WebSocketOptions
from tests.fuzz.effort import effort
from tests.fuzz.plausible import plausible_options
from tests.fuzz.values import anything, as_bytes, mutated

CANARY = "Hunter2Canary"


def read(found: Any) -> WebSocketOptions | InvalidInputError:
    try:
        options: WebSocketOptions = WebSocketOptions.read(orjson.loads(as_bytes(found)))
    except InvalidInputError as error:
        return error
    return options


@effort(200)
@given(st.one_of(anything, mutated(plausible_options)).filter(lambda found: len(as_bytes(found)) < 100_000))
def test_any_json_is_a_model_that_stays_the_same_or_an_error_with_field_and_reason(found: Any):
    try:
        orjson.loads(as_bytes(found))
    except orjson.JSONDecodeError:
        return
    options = read(found)
    if isinstance(options, InvalidInputError):
        assert options.problems
        assert all(problem.what for problem in options.problems)
        return
    refusal = OptionLimits().refusal(options)
    if refusal is not None and refusal.startswith("the options cannot be written"):
        return
    again: WebSocketOptions = WebSocketOptions.read(json.loads(options.to_json()))
    assert again == options
    assert WebSocketOptions.read(json.loads(again.to_json())).to_json() == again.to_json()
    assert again.unknown_fields == options.unknown_fields
    assert hash(again) == hash(options)
    masked: WebSocketOptions = WebSocketOptions.read(orjson.loads(options.masked().to_json()))
    assert list(masked.references()) == list(options.references())
    assert masked.masked() == masked
    options.endpoints()
    record = WebSocketConnection(id="a", options=options)
    assert HeldConnection.of(record).options == options


@effort(200)
@given(st.data())
def test_an_error_names_the_field_that_was_spoilt_and_quotes_no_value(data: st.DataObject):
    name = data.draw(st.sampled_from(sorted(WebSocketOptions().to_wire())))
    wrong = data.draw(
        st.sampled_from([[CANARY, [CANARY]], {CANARY: {"x": [CANARY]}, "interval_s": CANARY}, -(10**6), CANARY * 400])
    )
    options = read({name: wrong})
    if isinstance(options, InvalidInputError):
        assert all(problem.where.split(".")[0] in {name, ""} for problem in options.problems)
        assert CANARY not in str([problem.what for problem in options.problems])


PAIRS: dict[tuple[str, str], Callable[[int, int], dict[str, Any]]] = {
    ("reconnectBaseDelayS", "reconnectMaxDelayS"): lambda low, high: {
        "reconnectBaseDelayS": high,
        "reconnectMaxDelayS": low,
    },
    ("maxFrameBytes", "maxMessageBytes"): lambda low, high: {"maxFrameBytes": high, "maxMessageBytes": low},
    ("queueMaxBytes", "maxMessageBytes"): lambda low, high: {"queueMaxBytes": low, "maxMessageBytes": high},
    ("idleTimeoutS", "stableAfterS"): lambda low, high: {"idleTimeoutS": low, "stableAfterS": high},
    ("maxAgeS", "stableAfterS"): lambda low, high: {"maxAgeS": low, "stableAfterS": high},
    ("idleTimeoutS", "maxAgeS"): lambda low, high: {"stableAfterS": 0, "idleTimeoutS": high, "maxAgeS": low},
    ("heartbeat.intervalS", "maxAgeS"): lambda low, high: {
        "stableAfterS": 0,
        "maxAgeS": low,
        "heartbeat": {"data": "x", "intervalS": high},
    },
}


@pytest.mark.parametrize(("names", "contradiction"), PAIRS.items(), ids=["-".join(pair) for pair in PAIRS])
@effort(200)
@given(low=st.integers(1024, 1500), more=st.integers(1, 1500))
def test_a_contradiction_is_refused_with_both_names_and_both_numbers(names, contradiction, low: int, more: int):
    refused = read(contradiction(low, low + more))
    assert isinstance(refused, InvalidInputError)
    for part in (*names, f"({low})", f"({low + more})"):
        assert part in str(refused)
