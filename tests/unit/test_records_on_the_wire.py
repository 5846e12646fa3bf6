"""Records as a .NET service writes them, and as we write them."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import IllegalTransitionError, InvalidInputError
from runtime.models.connection import DaprStateStoreEntry, WebSocketConnection
from runtime.models.constants import DaprConstants, connection_key, index_key, index_keys
from runtime.models.envelope import EnvelopeEncoder, MessageEnvelope
from runtime.models.outcome import OutcomeStatus, outcome_of
from runtime.models.schemas import SCHEMAS
from runtime.models.status import TRANSITIONS, ConnectionStatus, transition
from runtime.models.wire import WireTime, format_time

WEB_DEFAULTS = (
    '{"id":"abc123","url":"wss://example.com/socket","status":2,"topic":null,"autoReconnect":true,'
    '"createdAt":"2026-01-31T12:34:56.1234567Z","instanceId":"pod-0"}'
)
PASCAL_WITH_NAMES = (
    '{"Id":"abc123","Url":"wss://example.com/socket","Status":"Connected","Topic":null,"AutoReconnect":true,'
    '"CreatedAt":"2026-01-31T12:34:56.1234567Z","InstanceId":"pod-0"}'
)


def read(text: str) -> DaprStateStoreEntry:
    return DaprStateStoreEntry.read(orjson.loads(text))


@pytest.mark.parametrize("text", [WEB_DEFAULTS, PASCAL_WITH_NAMES])
def test_both_letter_cases_and_both_forms_of_the_enum_are_read(text: str):
    record = read(text)
    assert record.id == "abc123"
    assert record.status is ConnectionStatus.CONNECTED
    assert record.auto_reconnect is True
    assert record.instance_id == "pod-0"
    assert record.created_at == datetime(2026, 1, 31, 12, 34, 56, 123456, UTC)


def test_a_rewrite_keeps_seven_digits_numbers_camel_case_and_unknown_fields():
    text = WEB_DEFAULTS.replace('"instanceId":"pod-0"', '"instanceId":"pod-0","Flavour":{"Deep":[1]}')
    written = json.loads(read(text).to_connection().changed(topic="t").to_json())
    assert written["createdAt"] == "2026-01-31T12:34:56.1234567Z"
    assert written["status"] == 2
    assert written["Flavour"] == {"Deep": [1]}
    assert written["topic"] == "t"
    assert "schemaVersion" in written


def test_from_connection_and_to_connection_copy_all_but_what_belongs_to_the_process():
    class Thing:
        def close_now(self) -> None: ...

        def cancel(self) -> None: ...

    connection = read(WEB_DEFAULTS).to_connection()
    connection.attach(websocket=Thing(), cancellation=Thing())
    assert connection.websocket is not None
    assert connection.receive_task is None
    entry = DaprStateStoreEntry.from_connection(connection)
    assert b"ocket" not in entry.to_json().replace(b"wss://example.com/socket", b"")
    back = entry.to_connection()
    assert (back.websocket, back.cancellation, back.receive_task) == (None, None, None)
    assert back.to_json() == read(WEB_DEFAULTS).to_json()


def test_the_seeds_defaults():
    record = DaprStateStoreEntry()
    assert (record.id, record.url, record.topic, record.instance_id) == ("", "", None, None)
    assert record.status is ConnectionStatus.DISCONNECTED
    assert record.auto_reconnect is False
    now = datetime(2026, 1, 1, tzinfo=UTC)
    created = WebSocketConnection.create("x", now)
    assert (created.created_at, created.epoch) == (now, int(now.timestamp()))


def test_the_seeds_keys():
    assert (DaprConstants.KeyPrefix, DaprConstants.IndexKey) == ("websocket-", "websocket-index")
    assert connection_key("abc123") == "websocket-abc123"
    assert index_key("abc123", 1) == "websocket-index"
    assert index_key("abc123", 4) in index_keys(4)


@pytest.mark.parametrize("null", ["tags", "options", "applied", "outcomes", "lastError", "updatedAt"])
def test_null_is_read_where_a_foreign_writer_puts_it(null: str):
    read(json.dumps(json.loads(WEB_DEFAULTS) | {null: None}))


@pytest.mark.parametrize("bad", [4, -1, "Open", True, None, 1.5])
def test_a_status_that_does_not_exist_is_named(bad: object):
    with pytest.raises(InvalidInputError, match="status must be one of Disconnected"):
        read(json.dumps({"id": "a", "status": bad}))


def test_an_error_quotes_no_value_of_the_input():
    with pytest.raises(InvalidInputError) as caught:
        read('{"id": {"password": "hunter2"}, "url": 7}')
    assert "hunter2" not in str(caught.value)


@given(st.sampled_from(ConnectionStatus), st.sampled_from(ConnectionStatus))
def test_only_the_table_allows_a_transition(current: ConnectionStatus, target: ConnectionStatus):
    if target is current or target in TRANSITIONS[current]:
        assert transition(current, target) is target
    else:
        with pytest.raises(IllegalTransitionError, match=f"{current.label} cannot become {target.label}"):
            transition(current, target)


def test_the_last_sixteen_outcomes_are_kept_the_newest_last():
    now = datetime(2026, 1, 1, tzinfo=UTC)
    record = WebSocketConnection.create("a", now)
    for number in [*range(20), 10]:
        record = record.keeping(outcome_of(str(number), "connect", "a", OutcomeStatus.ACCEPTED, "", now))
    assert list(record.outcomes) == [*(str(n) for n in range(4, 20) if n != 10), "10"]


@given(
    st.text() | st.binary(),
    st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1), timezones=st.just(UTC)),
    st.integers(1, 2**53),
)
def test_the_hot_path_writes_the_same_bytes_as_the_model(payload: str | bytes, received: datetime, sequence: int):
    from base64 import b64encode

    url = "wss://user:pw@example.com/é?token=abc"
    fast = EnvelopeEncoder('a"b', url, 7).encode(payload, format_time(received), sequence)
    model = MessageEnvelope(
        websocket_id='a"b',
        websocket_url="wss://***@example.com/é?token=***",
        timestamp=received,
        payload=payload if isinstance(payload, str) else b64encode(payload).decode(),
        epoch=7,
        sequence=sequence,
        content_type="text/plain" if isinstance(payload, str) else "application/octet-stream",
    )
    assert fast == model.to_json()


@pytest.mark.parametrize(("levels", "content_type"), [(251, "application/json"), (252, "text/plain")])
def test_json_with_which_an_event_could_not_be_written_again_stays_a_text(levels: int, content_type: str):
    payload = "[" * levels + "]" * levels
    envelope = orjson.loads(EnvelopeEncoder("a", "wss://feed.example", 1, is_json=True).encode(payload, "now", 1))
    assert envelope["contentType"] == content_type
    assert envelope["payload"] == (orjson.loads(payload) if levels == 251 else payload)
    orjson.dumps([[envelope]])


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_schema_names_its_fields_in_camel_case(name: str):
    text = json.dumps(SCHEMAS[name]())
    assert "_" not in "".join(json.loads(text).get("properties", {}))


@pytest.mark.parametrize(
    ("moment", "written"),
    [
        (datetime(2026, 1, 31, 12, tzinfo=UTC), "2026-01-31T12:00:00.000000Z"),
        (datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2))), "2026-01-31T12:00:00.000000Z"),
        (WireTime.parse("2026-01-31T12:00:00.1234567Z"), "2026-01-31T12:00:00.1234567Z"),
        (WireTime.parse("2026-01-31T12:00:00.1234567Z") + timedelta(seconds=1), "2026-01-31T12:00:01.123456Z"),
    ],
)
def test_a_time_is_written_in_utc_and_one_that_was_read_as_it_came(moment: datetime, written: str):
    assert format_time(moment) == written
