"""Which messages are published, in which form, and what becomes of the others."""

from __future__ import annotations

import json
import time

import orjson
import pytest

from runtime.adapters.metrics import PrometheusMeters
from runtime.correlation import Expectation
from runtime.errors import InvalidInputError
from runtime.models.condition import PATTERN_MAX_BYTES, PATTERN_MAX_INSTRUCTIONS, Condition
from runtime.models.envelope import EnvelopeEncoder, MessageEnvelope
from runtime.models.options import WebSocketOptions
from tests.unit.stage import Stage, stop
from tests.unit.world import World
from tests.virtual_time import virtual_time

TRADE = {"pointer": "/e", "equals": "trade"}
MIB = 1024 * 1024


def stage(**options: object) -> Stage:
    return Stage(**{"ping_interval_s": 0, "queue_max_messages": 100, **options})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ['{"e":"trade"}', "tick", "AA==", '{"e":"quote"}']),
        ({"onlyText": True}, ['{"e":"trade"}', "tick", '{"e":"quote"}']),
        ({"onlyMatching": TRADE}, ['{"e":"trade"}']),
        ({"onlyMatching": {"regex": '"e":"(trade|quote)"'}}, ['{"e":"trade"}', '{"e":"quote"}']),
        ({"onlyMatching": {"contains": "e"}}, ['{"e":"trade"}', '{"e":"quote"}']),
        ({"onlyMatching": {"contains": "\x00"}}, ["AA=="]),
        ({"dropMatching": {"contains": "tick"}}, ['{"e":"trade"}', "AA==", '{"e":"quote"}']),
        ({"onlyText": True, "onlyMatching": {"contains": "e"}, "dropMatching": TRADE}, ['{"e":"quote"}']),
    ],
)
def test_only_what_the_options_ask_for_is_published_and_the_rest_is_counted(options, expected):
    @virtual_time
    async def run():
        peer = stage(**options)
        peer.socket.push('{"e":"trade"}', "tick", b"\x00", '{"e":"quote"}')
        peer.socket.lose()
        await peer.ends()
        assert peer.payloads == expected
        assert peer.session.filtered == 4 - len(expected)

    run()


@pytest.mark.parametrize("at_a_time", [1, 2, 7, 100])
def test_with_little_room_each_message_is_judged_once_and_none_is_lost_or_doubled(at_a_time):
    @virtual_time
    async def run():
        peer = stage(dropMatching={"contains": "x"}, queue_max_messages=at_a_time)
        messages = [f"x{number}" if number % 3 == 1 else str(number) for number in range(60)]
        task = peer.start()
        reads = [messages[:1], messages[1:30], messages[30:]]
        for read in reads:
            peer.socket._read.extend(read[1:])
            peer.socket.push(read[0])
            for _ in range(60):
                peer.publish()
                await peer.session.clock.sleep(0.01)
        assert sorted(int(str(payload)) for payload in peer.payloads) == [n for n in range(60) if n % 3 != 1]
        assert peer.session.filtered == 20
        await stop(task)

    run()


@virtual_time
async def test_order_holds_where_messages_are_left_out():
    peer = stage(onlyText=True, queue_max_messages=2)
    task = peer.start()
    peer.socket.push(*[message for number in range(20) for message in (str(number), b"\x00")])
    for _ in range(30):
        peer.publish()
        await peer.session.clock.sleep(0.01)
    assert peer.payloads == [str(number) for number in range(20)]
    await stop(task)


@virtual_time
async def test_filters_hold_during_the_opening_script_and_after_it():
    peer = stage(onlyText=True, openingMessages=[{"expect": {"contains": "\x00go"}}])
    peer.socket.push(b"\x00", "a", b"\x00go")
    await peer.session.open()
    peer.socket.push(b"\x00", "b")
    peer.socket.lose()
    await peer.ends()
    assert (peer.payloads, peer.session.filtered) == (["a", "b"], 3)


@virtual_time
async def test_without_a_topic_what_is_left_out_counts_as_filtered_and_the_rest_as_unpublished():
    peer = stage(onlyText=True)
    peer.session.topic = None
    peer.socket.push("a", b"b", "c")
    peer.socket.lose()
    await peer.ends()
    assert (peer.session.unpublished, peer.session.filtered) == (2, 1)


# ---- in a life


@virtual_time
async def test_what_is_left_out_is_counted_for_all_to_see_and_is_no_gap():
    meters = PrometheusMeters({}, lambda: 0)
    async with World(meters=meters).running() as world:
        meters.gauges = world.resident.gauges
        socket = await world.connect(options={"onlyMatching": TRADE})
        socket.push('{"e":"trade"}', "noise", '{"e":"trade"}', "noise")
        await world.settle()
        socket.lose(1001, "bye")
        await world.settle(5)
        world.dialer.sockets[-1].push("noise", '{"e":"trade"}')
        await world.settle()
        shown = await world.command("connection", id="a")
        assert (shown["framesFiltered"], shown["sequence"]) == (3, 3)
        assert [data["sequence"] for data in world.data("frame")] == [1, 2, 3]
        assert [gap["kind"] for gap in world.data("gap")] == ["blind"]
        page = meters.text().decode()
        assert "wsm_frames_filtered_total 3.0" in page
        assert "wsm_frames_received_total 6.0" in page


@virtual_time
async def test_a_request_hears_its_answer_also_where_that_is_left_out():
    async with World().running() as world:
        socket = await world.connect(options={"dropMatching": {"contains": "answer"}})
        await world.command("request", id="a", commandId="q", message="question", match={"contains": "answer"})
        await world.settle()
        socket.push("the answer")
        await world.settle()
        assert [data["status"] for data in world.data("outcome") if data["commandId"] == "q"][-1] == "done"
        assert world.payloads() == []


@virtual_time
async def test_the_filter_of_a_replaced_connection_holds_from_its_next_socket():
    async with World().running() as world:
        await world.connect(options={"onlyText": True})
        socket = await world.connect(options={"jsonPayload": True}, replace=True)
        socket.push(b"\x00", '{"a": 1}')
        await world.settle()
        assert [data["payload"] for data in world.data("frame")] == ["AA==", {"a": 1}]


# ---- payload as JSON


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a":[1,null,"x"]}', {"a": [1, None, "x"]}),
        ("7", 7),
        (' {"a":\r\n 1} ', {"a": 1}),
        ('"a\\nb"', "a\nb"),
        ("12345678901234567890123", 12345678901234567890123),
        ('{"ü":"€"}', {"ü": "€"}),
    ],
)
def test_a_text_that_is_json_stands_in_its_envelope_as_it_came_on_one_line(text, value):
    data = EnvelopeEncoder("a", "ws://h", 1, is_json=True).encode(text, "2026-01-01T00:00:00.000000Z", 3)
    envelope = json.loads(data)
    assert (envelope["payload"], envelope["contentType"], envelope["sequence"]) == (value, "application/json", 3)
    assert b"\n" not in data
    assert MessageEnvelope.read(envelope).payload == value


@pytest.mark.parametrize(
    "message", ["", "no JSON", "NaN", '{"a":1', "{'a':1}", '{"a":1}{"b":2}', "\ufeff{}", b'{"a":1}']
)
def test_what_is_no_json_text_is_published_as_without_the_option(message):
    stamp = "2026-01-01T00:00:00.000000Z"
    plain, wished = (
        EnvelopeEncoder("a", "ws://h", 1, is_json=flag).encode(message, stamp, 3) for flag in (False, True)
    )
    assert plain == wished


# ---- regular expressions


def search(regex: str, payload: str | bytes) -> bool:
    return Expectation.of(Condition(regex=regex)).is_met_by(payload)


@pytest.mark.parametrize("regex", [r"(a+)+b", r"(a|aa)+$", r"(a|a?)+b", r"(.*a){15}b", r"^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_an_expression_that_makes_others_backtrack_for_ever_is_answered_at_once(regex):
    began = time.perf_counter()
    search(regex, "a" * MIB)
    assert time.perf_counter() - began < 5


@pytest.mark.parametrize("regex", ["(?=a)", r"(a)\1", "(", "a{1001}", "[", "(?<!a)b", r"\pL{900}"])
def test_what_is_no_expression_of_a_linear_engine_is_refused(regex):
    with pytest.raises(InvalidInputError, match=r"onlyMatching\.regex: is no regular expression of RE2"):
        WebSocketOptions.read({"onlyMatching": {"regex": regex}})


def test_an_expression_whose_program_is_too_large_is_refused_with_both_numbers():
    with pytest.raises(InvalidInputError, match=rf"of \d{{4,}} instructions; at most {PATTERN_MAX_INSTRUCTIONS}"):
        WebSocketOptions.read({"onlyMatching": {"regex": ".{0,1000}x"}})


def test_only_the_beginning_of_a_message_is_searched():
    assert search("x", "a" * (PATTERN_MAX_BYTES - 1) + "x")
    assert not search("x", "a" * PATTERN_MAX_BYTES + "x")
    assert not search("x", "ä" * (PATTERN_MAX_BYTES // 2) + "x")


def test_expressions_see_characters_and_binary_messages_too():
    assert search("^h.llo$", "hällo")
    assert search("^h.llo$", "hällo".encode())
    assert search("b", b"\xff\xfe b")


@pytest.mark.parametrize(("value", "other"), [(True, 1), (False, 0), (1, True), ("1", 1)])
def test_a_value_equals_only_one_of_its_kind(value, other):
    expectation = Expectation.of(Condition(pointer="/a", equals=value))
    assert expectation.is_met_by(orjson.dumps({"a": value}))
    assert not expectation.is_met_by(orjson.dumps({"a": other}))
