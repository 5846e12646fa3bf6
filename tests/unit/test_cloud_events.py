"""Events as CloudEvents 1.0 documents: what a strict parser reads is what was meant."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InvalidInputError
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import CloudEventEncoder, Event
from runtime.models.published import read_entry, read_published, with_valid_data
from runtime.models.wire import WireTime
from tests.cloud_events import STRUCTURED, read_cloud_event

NOW = "2026-01-31T12:00:00.000001Z"
AT = WireTime.parse(NOW)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def parsed(document: bytes):
    return read_cloud_event(STRUCTURED, document)


def encoded(event: Event) -> bytes:
    document = CloudEventEncoder("here", "pubsub").encode(event)
    assert b"\n" not in document
    return document


@given(id_=TEXT, topic=TEXT, type_=TEXT, subject=st.just("") | TEXT, source=st.just("") | TEXT)
def test_every_attribute_survives_whatever_it_holds(id_: str, topic: str, type_: str, subject: str, source: str):
    event = Event(id_, topic, type_, subject, NOW, b'{"n":1}', source=source)
    found = json.loads(encoded(event))
    expected = {
        "specversion": "1.0",
        "id": id_,
        "source": source or "here",
        "type": type_,
        "time": NOW,
        "datacontenttype": "application/json",
        "topic": topic,
        "pubsubname": "pubsub",
        "data": {"n": 1},
    }
    assert found == (expected | {"subject": subject} if subject else expected)


@pytest.mark.parametrize("source", ["", "elsewhere"])
@pytest.mark.parametrize(
    ("content_type", "data", "content"),
    [
        ("application/json", b'{"n": 12345678901234567890123}', {"n": 12345678901234567890123}),
        ("application/problem+json; charset=utf-8", b'"x"', "x"),
        ("text/plain", b'{"n": 1}', '{"n": 1}'),
        ("application/octet-stream", b"text", b"text"),
        ("text/plain", b"\xff", b"\xff"),
    ],
)
def test_a_strict_parser_reads_what_was_meant(source: str, content_type: str, data: bytes, content: Any):
    event = parsed(encoded(Event("1", "t", "type", "s", NOW, data, content_type, source)))
    assert event.data == content
    assert (event["datacontenttype"], event["source"]) == (content_type, source or "here")
    assert (event["subject"], WireTime.parse(event["time"]), event["topic"]) == ("s", AT, "t")


def test_no_subject_and_no_data_are_left_out_since_they_may_not_be_empty():
    document = json.loads(encoded(Event("1", "t", "type", "", NOW, b"", "application/json", "elsewhere")))
    assert not {"subject", "data", "data_base64"} & set(document)
    parsed(json.dumps(document).encode())


def test_what_is_encoded_once_for_many_events_is_not_mixed_up_and_bounded():
    encoder = CloudEventEncoder("here", "pubsub")
    for _ in range(2):
        for number in range(0, 50_100, 100):
            event = Event("1", f"t{number}", "type", f"s{number}", NOW, b"1")
            document = json.loads(encoder.encode(event))
            assert (document["topic"], document["subject"]) == (event.topic, event.subject)
    for number in range(50_100):
        encoder.encode(Event("1", "t", "type", f"n{number}", NOW, b"1"))
    assert len(encoder._cache) < 50_010


@given(st.dictionaries(TEXT, TEXT | st.integers() | st.none()), st.sampled_from([None, 2]))
def test_published_json_keeps_its_meaning_on_one_line(data: dict[str, Any], indent: int | None):
    text = json.dumps(data, indent=indent, ensure_ascii=False).replace("\n", "\r\n").encode()
    event = with_valid_data(read_published("t", text, "application/json", {}, NOW))
    assert json.loads(encoded(event))["data"] == data


def test_what_is_nested_too_deeply_to_be_written_again_is_refused():
    deep = json.loads("[" * 300 + "]" * 300)
    document = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data": deep}
    with pytest.raises(InvalidInputError, match="data: cannot be written as JSON"):
        read_published("t", json.dumps(document).encode(), "application/cloudevents+json", {}, NOW)
    with pytest.raises(InvalidInputError, match="event: cannot be written as JSON"):
        read_entry({"entryId": "1", "event": deep})


@pytest.mark.parametrize("data", [None, 0, "text", [1], {"a": None}])
def test_a_cloud_event_that_is_published_comes_out_as_it_went_in(data: Any):
    document = {
        "specversion": "1.0",
        "id": "1",
        "source": "s",
        "type": "t",
        "data": data,
        "time": "2026-01-01T00:00:00Z",
    }
    event = with_valid_data(
        read_published("topic", json.dumps(document).encode(), "application/cloudevents+json", {}, NOW)
    )
    assert document.items() <= json.loads(encoded(event)).items()


@pytest.mark.parametrize(
    ("content", "data"),
    [
        ({}, b""),
        ({"data": "text", "datacontenttype": "text/plain"}, b"text"),
        ({"data": {"a": 1}, "datacontenttype": "text/plain"}, b'{"a":1}'),
        ({"data_base64": "/wA=", "datacontenttype": "image/png"}, b"\xff\x00"),
    ],
)
def test_the_data_of_a_cloud_event_is_read_by_its_content_type(content: dict[str, Any], data: bytes):
    document = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", **content}
    body = json.dumps(document).encode()
    event = with_valid_data(read_published("topic", body, "application/cloudevents+json", {}, NOW))
    assert (event.data, event.time) == (data, NOW)


def test_a_cloud_event_whose_base64_is_no_json_though_it_says_so_is_refused():
    document = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data_base64": "/wA="}
    event = read_published("topic", json.dumps(document).encode(), "application/cloudevents+json", {}, NOW)
    with pytest.raises(InvalidInputError, match="data: is not JSON"):
        with_valid_data(event)


@given(
    st.builds(
        Event,
        TEXT,
        TEXT,
        TEXT,
        st.just("") | TEXT,
        st.just(NOW),
        st.binary(max_size=50),
        TEXT,
        st.just("") | TEXT,
        is_raw=st.just(False),
        frames=st.just(1),
    ),
    TEXT,
)
def test_a_dead_letter_brings_its_event_back_byte_for_byte(event: Event, reason: str):
    carried = DeadLetter.of(event, reason, AT).carried_to("dead")
    assert (carried.id, carried.topic, carried.subject) == (f"dead.{event.id}", "dead", event.subject)
    letter: DeadLetter = DeadLetter.read(json.loads(carried.data))
    assert (letter.event, letter.reason, letter.to_json()) == (event, reason, carried.data)


def test_a_dead_letter_is_shown_without_its_payload():
    letter = DeadLetter.of(Event("1", "t", "type", "s", NOW, b"secret"), "because", AT)
    assert letter.view() == {
        "id": "1",
        "topic": "t",
        "type": "type",
        "subject": "s",
        "time": NOW,
        "contentType": "application/json",
        "sizeBytes": 6,
        "reason": "because",
        "at": NOW,
    }


def test_a_dead_letter_whose_payload_is_damaged_is_not_read():
    good = json.loads(DeadLetter.of(Event("1", "t", "type", "s", NOW, b"x"), "because", AT).to_json())
    with pytest.raises(InvalidInputError, match="dataBase64: must be base64"):
        DeadLetter.read(good | {"dataBase64": "?"})
