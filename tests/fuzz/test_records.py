"""Stored values that anybody may have written: each is read, or is garbage, and what is unknown in it stays."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.adapters.memory.store import MemoryStore
from runtime.errors import GarbageRecordError, InvalidInputError, NotFoundError
from runtime.models.connection import DaprStateStoreEntry, HeldConnection, WebSocketConnection
from runtime.models.constants import DaprConstants, index_key
from runtime.models.dead_letter import DeadLetter
from runtime.models.dials import Ask, DialLimits, DialsPage, Pause, dials_key
from runtime.models.index import IndexChange, Layout, change_index
from runtime.models.instance import Instance, InstanceList
from runtime.models.outbox import Outbox
from runtime.models.tag_members import TagMembers
from runtime.models.vitals import VitalsPage
from runtime.models.wire import WireModel
from runtime.ports import Limits, Stored
from runtime.records import Records, decode
from tests.fuzz.effort import effort
from tests.fuzz.plausible import URLS, plausible_options
from tests.fuzz.values import anything, as_bytes, clean_text, mutated, mutated_bytes
from tests.unit.world import World
from tests.virtual_time import FakeClock, virtual_time

TIME = "2026-01-01T00:00:00Z"
_TIMES = [TIME, TIME, "2026-01-31T12:34:56.1234567Z", "0001-01-01T00:00:00", "9999-12-31T23:59:59Z"]
_time = st.sampled_from(_TIMES)
_outcome = {"commandId": "1", "command": "send", "status": "done", "reason": "sent", "at": TIME}
_message = {"data": "x", "binary": False}
_item = {"commandId": "2", "command": "send", "messages": [_message], "expiresAt": "2027-01-01T00:00:00Z"}
_record = st.fixed_dictionaries(
    {"id": st.just("a"), "url": st.sampled_from(URLS), "autoReconnect": st.booleans()},
    optional={
        "status": st.sampled_from([0, 1, 2, 3, "Connected"]),
        "topic": st.sampled_from(["t", None, "", "websocket-events"]),
        "createdAt": _time,
        "instanceId": st.sampled_from(["me", "other", None]),
        "desired": st.sampled_from(["connected", "disconnected", "removed"]),
        "generation": st.integers(0, 3),
        "endedGeneration": st.integers(0, 3),
        "epoch": st.sampled_from([0, 5, 2**53, 2**63 - 1, 2**64 - 1]),
        "tags": st.dictionaries(clean_text, clean_text, max_size=2),
        "options": plausible_options,
        "applied": st.dictionaries(st.sampled_from(["life", "topic", "tags"]), _time),
        "outcomes": st.just({"1": _outcome}),
        "handover": st.fixed_dictionaries(
            {
                "source": st.sampled_from(["me", "other"]),
                "epoch": st.integers(0, 5),
                "withinS": st.sampled_from([1, 1e308]),
            },
            optional={"to": st.sampled_from(["me", "other", None]), "lastSequence": st.integers(), "readUntil": _time},
        ),
        "readUntil": _time,
        "updatedAt": _time,
        "lastError": clean_text,
    },
)
_outbox = st.fixed_dictionaries(
    {}, optional={"items": st.lists(st.just(_item), max_size=2), "outcomes": st.just({"1": _outcome})}
)
_dials = {
    "granted": [[1767225600.0, 2]],
    "inFlight": {"me": {"dials": 1, "until": 1767225700.0}},
    "pause": {"until": 1767225601.0, "lengthS": 5, "why": "429"},
}
MODELS: dict[str, tuple[type[WireModel], st.SearchStrategy[Any]]] = {
    "record": (DaprStateStoreEntry, _record),
    "outbox": (Outbox, _outbox),
    "dials": (DialsPage, st.just({"remotes": {"feed.example:443": _dials}})),
    "tags": (TagMembers, st.just({"members": {"k=v": {"a": 1767225600.0}}})),
    "instances": (InstanceList, st.just({"ids": ["me", "other"], "draining": ["other"]})),
    "instance": (
        Instance,
        st.just({"id": "other", "incarnation": "1", "beat": 3, "startedAt": TIME, "readUntil": TIME}),
    ),
    "vitals": (VitalsPage, st.just({"pages": 1, "rows": {"a": [1, None, 2, 3, 4, 5]}, "waits": {"a": [1, "x"]}})),
    "layout": (Layout, st.just({"indexShards": 1})),
    "letter": (
        DeadLetter,
        st.just(
            dict.fromkeys(["reason", "topic", "type", "id", "subject", "time", "contentType"], "x")
            | {"dataBase64": "", "at": TIME}
        ),
    ),
}


def _spoilt(valid: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return st.one_of(
        mutated(valid).map(as_bytes), mutated_bytes(valid.map(as_bytes)), anything.map(as_bytes), st.binary(max_size=40)
    )


@pytest.mark.parametrize("kind", MODELS)
@effort(100)
@given(data=st.data())
def test_a_value_is_garbage_or_what_it_says_again_and_again_with_all_that_is_unknown(kind: str, data: st.DataObject):
    model, valid = MODELS[kind]
    value = data.draw(_spoilt(valid))
    try:
        found = decode(model, "key", value)
    except GarbageRecordError as garbage:
        said = str(garbage)
        assert said.startswith("the value under key cannot be read: ")
        return
    given_fields = orjson.loads(value)
    unknown = {name: given_fields[name] for name in found.unknown_fields}
    try:
        written = found.to_json()
    except orjson.JSONEncodeError:
        return  # nested too deeply: see what becomes of it in the store below
    again = decode(model, "key", written)
    assert again == found
    assert unknown.items() <= orjson.loads(written).items()


@effort(300)
@given(_spoilt(_record), clean_text)
def test_a_change_of_a_record_keeps_what_it_does_not_mean_or_leaves_the_record_as_it_is(value: bytes, topic: str):
    @virtual_time
    async def run() -> None:
        store = MemoryStore()
        records = Records(store, FakeClock(), lambda: 0.5)
        store.values["websocket-a"] = Stored(value, "1")
        calls = 0

        def decide(record: WebSocketConnection | None) -> WebSocketConnection | None:
            nonlocal calls
            calls += 1
            assert record is not None
            HeldConnection.of(record)
            return record.changed(topic=topic)

        try:
            changed = await records.update("a", decide)
        except GarbageRecordError:
            assert store.values["websocket-a"].value == value
            return
        assert calls == 1
        assert changed is not None
        assert (changed.id, changed.topic) == ("a", topic)
        before, after = orjson.loads(value), orjson.loads(store.values["websocket-a"].value)
        known = {name.lower() for name in WebSocketConnection().to_wire()}
        kept = {name: each for name, each in before.items() if name.lower() not in known}
        assert kept.items() <= after.items()

    run()


NOW = 1767225600.0
_number = st.sampled_from([NOW, NOW + 1, 0.0, -1.0, 1e308, -1e308, 2**53, 1e-300])


@effort(300)
@given(
    mutated(st.just({"remotes": {"a:1": _dials, "b:1": _dials}})),
    st.builds(DialLimits, st.integers(0, 5), st.sampled_from([1, 300.0]), st.integers(0, 5)),
    _number,
)
def test_whatever_a_page_of_dials_says_an_ask_is_answered_within_bounds(page: Any, limits: DialLimits, until: float):
    try:
        held: DialsPage = DialsPage.read(orjson.loads(as_bytes(page)))
    except (InvalidInputError, orjson.JSONDecodeError):
        return
    for pause in (None, Pause(until=until, length_s=3, why="429")):
        for name in ("a:1", "b:1", "c:1"):
            held, answer = held.ask(name, Ask("me", wanted=2, pause=pause), limits, NOW)
            assert 0 <= answer.granted <= 2
            assert answer.wait_s == answer.wait_s
    with suppress(orjson.JSONEncodeError):  # unknown fields that are nested too deeply: the store's garbage
        decode(DialsPage, "key", held.to_json())


@effort(200)
@given(_spoilt(st.just(["a", "b"])))
def test_an_index_is_garbage_or_takes_a_change(value: bytes):
    try:
        changed = change_index("key", value, [IndexChange("c", is_in=True), IndexChange("a", is_in=False)])
    except GarbageRecordError:
        return
    ids = orjson.loads(changed if changed is not None else value)
    assert "c" in ids
    assert "a" not in ids


COMMANDS: list[tuple[str, dict[str, Any]]] = [
    ("setTags", {"tags": {"k": "v"}}),
    ("startPublish", {"topic": "t"}),
    ("send", {"message": "x"}),
    ("reconnect", {}),
    ("disconnect", {"keep": True}),
]
QUERIES: list[tuple[str, dict[str, Any]]] = [
    ("connections", {}),
    ("connections", {"tag": {"k": "v"}, "owner": "me"}),
    ("connection", {"id": "a"}),
    ("instances", {}),
    ("outcome", {"id": "a", "commandId": "1"}),
    ("deadLetters", {}),
]
STORE: dict[str, Callable[[], st.SearchStrategy[bytes]]] = {
    "websocket-a": lambda: _spoilt(_record),
    "websocket.outbox.a": lambda: _spoilt(_outbox),
    DaprConstants.INSTANCES_KEY: lambda: _spoilt(MODELS["instances"][1]),
    "websocket.instance.other": lambda: _spoilt(MODELS["instance"][1]),
    "websocket.vitals.other": lambda: _spoilt(MODELS["vitals"][1]),
    dials_key("feed.example:443"): lambda: _spoilt(MODELS["dials"][1]),
}


@effort(60)
@given(st.data())
def test_a_manager_lives_with_whatever_it_finds_in_the_store(data: st.DataObject):
    spoilt = {key: data.draw(values()) for key, values in STORE.items() if data.draw(st.booleans())}
    while_running = data.draw(st.booleans())

    @virtual_time
    async def run() -> None:
        world = World(Limits(dials=DialLimits(in_window=3, at_once=2)))
        await world.command("connect", id="a", url=URLS[0], topic="t", autoReconnect=True)
        world.store.values[index_key("b", 1)] = Stored(b'["a","b"]', "index")

        def spoil() -> None:
            world.store.values |= {key: Stored(value, "spoilt") for key, value in spoilt.items()}

        if not while_running:
            spoil()
        async with world.running():
            await world.settle(5)
            spoil()
            world.host.nudge("a")
            await world.settle(50)
            for name, fields in COMMANDS:
                outcome = await world.command(name, id="a", **fields)
                assert outcome["status"] in {"accepted", "rejected", "superseded"}
                assert outcome["reason"]
                await world.settle(1)
            for query, fields in QUERIES:
                with suppress(GarbageRecordError, NotFoundError):
                    await world.command(query, **fields)
            await world.settle(100)
            assert not {event for event, _ in world.observer.warnings} & {"keeper_failed", "event_refused"}
            if DaprConstants.INSTANCES_KEY not in spoilt:
                await asyncio.wait_for(world.connect("healthy", url="wss://healthy.example/"), 60)
                await world.settle(100)
                assert (await world.record("healthy")).status.label == "Connected"

    run()
