"""What a host keeps of the record of a connection that it holds."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime

import pytest

from runtime import ownership
from runtime.models.connection import Aspect, DaprStateStoreEntry, HeldConnection, WebSocketConnection
from runtime.models.handover import Handover
from runtime.models.options import WebSocketOptions

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def record(**fields: object) -> WebSocketConnection:
    changed = WebSocketConnection.create("a", NOW).changed(
        url="wss://feed.example/", topic="t", auto_reconnect=True, generation=3, instance_id="host", **fields
    )
    return changed.at(Aspect.LIFE, NOW)


def test_all_that_an_owner_acts_on_is_there():
    handover = Handover(source="other", epoch=7, to="host", within_s=10)
    full = record(tags={"k": "v"}, handover=handover, read_until=NOW, epoch=8, options=WebSocketOptions(overlap=False))
    held = HeldConnection.of(full)
    assert ownership.wishes(held) == ownership.wishes(full)
    assert (held.id, held.url, held.status) == ("a", "wss://feed.example/", full.status)
    assert (held.options, held.handover, held.read_until) == (full.options, handover, NOW)
    assert held.is_wanted


def test_what_only_handlers_look_at_is_not_kept():
    held = HeldConnection.of(record(tags={"k": "v"}))
    assert (held.tags, held.applied, held.outcomes) == ({}, {}, {})


def test_it_can_be_neither_changed_nor_stored():
    held = HeldConnection.of(record())
    with pytest.raises(AttributeError):
        held.changed(topic="other")
    with pytest.raises(AssertionError, match="what a host holds"):
        DaprStateStoreEntry.from_connection(held)


def test_equal_options_are_one_object_as_long_as_somebody_has_it():
    def options_of(**fields: object) -> WebSocketOptions:
        return HeldConnection.of(record(options=WebSocketOptions.model_validate(fields))).options

    first = options_of(idle_timeout_s=60, opening_messages=("hello",))
    assert options_of(idle_timeout_s=60, opening_messages=("hello",)) is first
    assert options_of(idle_timeout_s=61, opening_messages=("hello",)) is not first
    gone = weakref.ref(first)
    del first
    gc.collect()
    assert gone() is None


def test_options_that_this_version_does_not_know_tell_them_apart():
    first, second = (
        HeldConnection.of(record(options=WebSocketOptions.model_validate({"fromTomorrow": value}))).options
        for value in (1, 2)
    )
    assert first.unknown_fields == second.unknown_fields == ["fromTomorrow"]
    assert first is not second


def test_what_never_leaves_the_process_may_be_attached():
    class Thing:
        def close_now(self) -> None:
            pass

    held, thing = HeldConnection.of(record()), Thing()
    held.attach(websocket=thing)
    assert held.websocket is thing
