"""What applications and sidecars hand over: bodies, entries and CloudEvents are events, or one clear refusal."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import InvalidInputError
from runtime.models.events import JSON, CloudEventEncoder, is_json
from runtime.models.published import CLOUD_EVENT, read_bulk, read_entry, read_published, with_valid_data
from tests.cloud_events import STRUCTURED, read_cloud_event
from tests.fuzz.effort import effort
from tests.fuzz.values import anything, as_bytes, clean_text, mutated, mutated_bytes

NOW = "2026-01-31T12:00:00.000001Z"
_types = st.sampled_from([JSON, CLOUD_EVENT, "text/plain", "application/octet-stream", "a/b+json; x=y", "", " ", ";"])
_metadata = st.dictionaries(
    st.sampled_from(["cloudevent.id", "cloudevent.type", "cloudevent.subject", "cloudevent.source"]), clean_text
)
_document = st.fixed_dictionaries(
    {"specversion": st.just("1.0"), "id": clean_text, "source": clean_text, "type": clean_text},
    optional={
        "subject": clean_text,
        "time": st.sampled_from([NOW, "2026-01-31t12:00:00+01:00", "now"]),
        "datacontenttype": _types,
        "data": anything,
        "data_base64": st.sampled_from(["YQ==", "YQ", "é"]),
        "extension": anything,
    },
)
_entry = st.fixed_dictionaries(
    {"entryId": st.sampled_from(["1", "2", ""]), "event": anything},
    optional={"contentType": _types, "metadata": _metadata},
)
_body = st.one_of(
    mutated(_document).map(as_bytes), anything.map(as_bytes), mutated_bytes(_document.map(as_bytes)), st.binary()
)


@effort(200)
@given(_body, _types | clean_text, _metadata)
def test_a_body_is_an_event_that_a_strict_parser_reads_or_it_is_refused(
    body: bytes, content_type: str, metadata: dict[str, str]
):
    published(body, content_type, metadata)


def published(body: bytes, content_type: str, metadata: dict[str, str]) -> None:
    """Publish it as the embedded profile does."""
    try:
        event = with_valid_data(read_published("t", body, content_type, metadata, NOW))
    except InvalidInputError:
        return
    written = CloudEventEncoder("here", "pubsub").encode(event)
    assert b"\n" not in written
    found = read_cloud_event(STRUCTURED, written)
    assert (found["id"], found["source"], found["type"]) == (event.id, event.source or "here", event.type)
    assert found["datacontenttype"] == event.content_type
    document = json.loads(written)
    if event.data and is_json(event.content_type):
        assert document["data"] == json.loads(event.data)
    elif event.data:
        data = document.get("data", "").encode() or b64decode(document["data_base64"], validate=True)
        assert data == event.data


@effort(200)
@given(st.one_of(mutated(st.lists(_entry, max_size=3)).map(as_bytes), anything.map(as_bytes), st.binary()))
def test_a_bulk_call_is_a_list_of_entries_or_it_is_refused_and_one_bad_entry_refuses_itself_alone(body: bytes):
    try:
        entries = read_bulk(body)
    except InvalidInputError:
        return
    for entry in entries:
        try:
            read = read_entry(entry)
        except InvalidInputError:
            continue
        published(*read)


@effort(200)
@given(mutated(_document, most=1))
def test_what_a_cloud_event_says_stays(document: Any):
    try:
        event = read_published("t", as_bytes(document), CLOUD_EVENT, {}, NOW)
        event = with_valid_data(event)
    except InvalidInputError:
        return
    said = json.loads(CloudEventEncoder("here", "pubsub").encode(event))
    lower = {key.lower(): found for key, found in document.items()}
    for name in ("id", "source", "type"):
        assert said[name] == lower[name]
    if "data" in document and document.get("data_base64") is None and is_json(event.content_type):
        assert said["data"] == orjson.loads(as_bytes(document["data"]))
