"""Envelopes, in parcels and in CloudEvents, from any payload: what another JSON parser reads is what the peer sent."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import deque
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from runtime.host.parcel import Entry, Frame, Wrapping
from runtime.models.envelope import BINARY, JSON, TEXT, EnvelopeEncoder, MessageEnvelope
from runtime.models.events import CloudEventEncoder
from runtime.models.options import Delivery, WebSocketOptions
from tests.fuzz.effort import effort
from tests.fuzz.values import anything, mutated_bytes, text
from tests.fuzz.values import clean_text as wire_text

AT = "2026-01-31T12:00:00.000001Z"
_json_text = st.builds(
    lambda found, indent, is_ascii, end: json.dumps(found, indent=indent, ensure_ascii=is_ascii).replace("\n", end),
    anything,
    st.sampled_from([None, 1]),
    st.booleans(),
    st.sampled_from(["\n", "\r\n", "\r"]),
)
_odd = st.sampled_from(
    [
        '"\\ud800"',
        "NaN",
        "1e400",
        "-0",
        "9" * 400,
        "1.10",
        '{"a":1,"a":2}',
        "\ufeff1",
        '"\u2028"',
        " 1 ",
        "[1]\x00",
        "tRue",
    ]
)
_payload = st.one_of(wire_text, st.binary(max_size=200), _json_text, _odd, mutated_bytes(_json_text.map(str.encode)))
_sent = _payload.map(lambda found: found if isinstance(found, bytes) else found.encode(errors="replace").decode())


def exactly(found: str | bytes) -> Any:
    """The JSON with each number as it was written. Raises ValueError."""
    return json.loads(found, parse_int=str, parse_float=str, parse_constant=_none)


def _none(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def same(envelope: Any, payload: str | bytes, *, is_json: bool) -> None:
    """The payload of the envelope is what was sent."""
    if isinstance(payload, bytes):
        assert envelope["contentType"] == BINARY
        assert b64decode(envelope["payload"], validate=True) == payload
    elif envelope["contentType"] == JSON:
        assert is_json
        assert envelope["payload"] == exactly(payload)
    else:
        assert envelope["contentType"] == TEXT
        assert envelope["payload"] == payload


@effort(500)
@given(st.lists(_sent, min_size=1, max_size=5), st.booleans(), wire_text, wire_text, st.integers(0, 2**53), st.data())
def test_any_payload_comes_out_as_it_went_in_alone_in_a_batch_and_in_a_cloud_event(
    payloads: list[str | bytes], is_json: bool, id_: str, url: str, epoch: int, data: st.DataObject
):
    encode = EnvelopeEncoder(id_, url, epoch, is_json=is_json).stamped(AT)
    entries: deque[Entry] = deque()
    for number, payload in enumerate(payloads, 1):
        envelope = encode(payload, number)
        found = exactly(envelope)
        same(found, payload, is_json=is_json)
        assert (found["websocketId"], found["epoch"], found["sequence"]) == (id_, str(epoch), str(number))
        read: MessageEnvelope = MessageEnvelope.read(orjson.loads(envelope))
        assert read.sequence == number
        entries.append(Frame(epoch, number, 0, len(envelope), envelope, "t", id_, AT))
    delivery = data.draw(st.sampled_from(Delivery))
    wrapping = Wrapping.of(WebSocketOptions(delivery=delivery))
    left = list(payloads)
    while entries:
        document = CloudEventEncoder("here", "pubsub").encode(wrapping.next(entries, 3).event)
        assert not {b"\n", b"\r"} & {document[at : at + 1] for at in range(len(document))}
        published = exactly(document)["data"]
        for envelope in published if isinstance(published, list) else [published]:
            same(envelope, left.pop(0), is_json=is_json)
    assert left == []


@effort(100)
@given(st.integers(900, 1100), st.sampled_from(["[]", '{"a":}']))
def test_nesting_that_is_too_deep_for_a_reader_travels_as_text(levels: int, kind: str):
    opened, closed = ("[", "]") if kind == "[]" else ('{"a":', "}")
    payload = f"{opened * levels}1{closed * levels}"
    envelope = EnvelopeEncoder("a", "wss://feed.example", 1, is_json=True).encode(payload, AT, 1)
    entry = Frame(1, 1, 0, len(envelope), envelope, "t", "a", AT)
    for delivery in Delivery:
        event = Wrapping.of(WebSocketOptions(delivery=delivery)).next(deque([entry]), 1).event
        orjson.loads(CloudEventEncoder("here", "pubsub").encode(event))


@effort(100)
@given(text)
def test_a_text_that_no_peer_can_send_is_no_text_of_the_wire(found: str):
    """Texts come from UTF-8 alone: with a surrogate in them none could be written."""
    try:
        found.encode()
    except UnicodeEncodeError:
        return
    same(exactly(EnvelopeEncoder("a", "", 1).encode(found, AT, 1)), found, is_json=False)
    raw = b64encode(found.encode()).decode()
    assert exactly(EnvelopeEncoder("a", "", 1).encode(found.encode(), AT, 1))["payload"] == raw
