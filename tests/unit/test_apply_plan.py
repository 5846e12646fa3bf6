"""From a file of connections and those that exist to the commands that make them agree."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import yaml

from runtime.cli.plan import BadFile, Change, exported, plan, read_connections
from runtime.models.options import WebSocketOptions

A = {"id": "a", "url": "ws://a.example/"}


def read(*items: dict[str, Any]):
    return read_connections(yaml.safe_dump(list(items)).encode())


def view(**fields: Any) -> dict[str, Any]:
    """A connection as the manager shows it whole."""
    options = orjson.loads(WebSocketOptions.read(fields.pop("options", {})).to_json())
    return {**A, "topic": None, "autoReconnect": False, "tags": {}, "status": "Connected", "options": options, **fields}


def only(change: list[Change]) -> Change:
    (one,) = change
    return one


def commands(wanted: dict[str, Any], existing: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return list(only(plan(read(wanted), [existing], prune=False)).commands)


@pytest.mark.parametrize("text", ["- {id: a, url: ws://a.example/}", "connections:\n- {id: a, url: ws://a.example/}"])
def test_a_file_is_a_list_or_has_one(text: str):
    (connect,) = read_connections(text.encode())
    assert (connect.id, connect.url) == ("a", "ws://a.example/")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"- a\n- b: [", "line 2: not YAML: expected the node content, but found '<stream end>'"),
        (b"\xff\xfe\xff", "not YAML: "),
        (b"- \x00", "not YAML: "),
        (b"", "must be a list of connections"),
        (b"connections: 7", "must be a list of connections"),
        (b"7", "must be a list of connections"),
    ],
)
def test_a_file_that_is_none_is_told_in_one_line(text: bytes, reason: str):
    with pytest.raises(BadFile) as bad:
        read_connections(text)
    (told,) = bad.value.reasons
    assert told.startswith(reason)
    assert "\n" not in told


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("text", "connection 1: must be a mapping with id, url, topic, autoReconnect, tags, options"),
        ({"url": "ws://a"}, "connection 1: id: must be given"),
        ({**A, "url": "http://a"}, "connection 1 ('a'): url: url must start with ws:// or wss://"),
        ({**A, "id": 7}, "connection 1: id: Input should be a valid string"),
        ({**A, "id": "index"}, "connection 1 ('index'): id: 'index' is reserved"),
        ({**A, "topics": "t"}, "connection 1 ('a'): unknown field 'topics'; there are id, url"),
        ({**A, "replace": True}, "connection 1 ('a'): unknown field 'replace'"),
        ({**A, "commandId": "x"}, "connection 1 ('a'): unknown field 'commandId'"),
        ({**A, "options": {"pings": 1}}, "connection 1 ('a'): unknown option 'pings'"),
        ({**A, "options": {"pingIntervalS": -1}}, "connection 1 ('a'): options.pingIntervalS: "),
        ({**A, "tags": {"k": 1}}, "connection 1 ('a'): tags.k: "),
    ],
)
def test_an_error_names_the_entry_and_the_field(item: Any, reason: str):
    with pytest.raises(BadFile) as bad:
        read_connections(yaml.safe_dump([item]).encode())
    assert bad.value.reasons[0].startswith(reason)


def test_all_errors_of_a_file_are_told_at_once():
    with pytest.raises(BadFile) as bad:
        read({**A, "foo": 1, "url": "x"}, {**A, "id": "b"}, {**A, "id": "b"}, {"id": "c"})
    assert [reason.partition(": ")[0] for reason in bad.value.reasons] == [
        "connection 1 ('a')",
        "connection 1 ('a')",
        "connection 3 ('b')",
        "connection 4 ('c')",
    ]
    assert "this id is there twice" in str(bad.value)


def test_what_is_not_there_is_created_with_all_that_the_file_says():
    wanted = {**A, "topic": "t", "autoReconnect": True, "tags": {"k": "v"}, "options": {"pingIntervalS": 3}}
    change = only(plan(read(wanted), [], prune=True))
    assert change.what == "created"
    ((method, body),) = change.commands
    assert method == "connect"
    assert body.pop("options")["pingIntervalS"] == 3
    assert body == {key: value for key, value in wanted.items() if key != "options"}


def test_what_is_as_wanted_needs_no_command():
    message = {"openingMessages": ["hello"], "overflow": "dropOldest"}
    change = only(plan(read({**A, "options": message}), [view(options=message)], prune=True))
    assert (change.what, change.commands) == ("unchanged", ())


def test_options_that_only_the_manager_knows_do_not_count_as_a_difference():
    existing = view()
    existing["options"]["fromTheFuture"] = 1
    assert commands(A, existing) == []


@pytest.mark.parametrize(
    ("field", "value"), [("url", "ws://b.example/"), ("autoReconnect", True), ("options", {"pingIntervalS": 3})]
)
def test_what_needs_another_dial_is_replaced(field: str, value: Any):
    ((method, body),) = commands({**A, field: value}, view())
    assert (method, body["replace"]) == ("connect", True)


def test_a_replacement_brings_topic_and_tags_along():
    existing = view(topic="old", tags={"k": "v"})
    change = only(plan(read({**A, "url": "ws://b.example/"}), [existing], prune=False))
    assert change.fields == ("url", "topic", "tags")
    ((_, body),) = change.commands
    assert (body["topic"], body["tags"]) == (None, {})


def test_topic_and_tags_alone_change_without_touching_the_socket():
    assert commands({**A, "topic": "t"}, view()) == [("startPublish", {"id": "a", "topic": "t"})]
    assert commands(A, view(topic="t")) == [("stopPublish", {"id": "a"})]
    assert commands({**A, "tags": {"k": "v"}}, view()) == [("setTags", {"id": "a", "tags": {"k": "v"}})]


def test_clearing_both_topic_and_tags_is_two_commands():
    """A connect that leaves both out says nothing about them: it would change nothing."""
    existing = view(topic="t", tags={"k": "v"})
    assert commands(A, existing) == [("stopPublish", {"id": "a"}), ("setTags", {"id": "a", "tags": {}})]


def test_a_record_that_cannot_be_read_is_replaced():
    ((method, _),) = commands(A, {"id": "a", "status": None, "lastError": "garbage"})
    assert method == "connect"


def test_only_prune_removes_what_is_not_in_the_file():
    existing = [view(id="z"), view(id="b"), view()]
    assert [change.id for change in plan(read(A), existing, prune=False)] == ["a"]
    changes = plan(read(A), existing, prune=True)
    assert [(change.id, change.what) for change in changes] == [("a", "unchanged"), ("b", "removed"), ("z", "removed")]
    assert changes[1].commands == (("disconnect", {"id": "b"}),)


def test_what_is_exported_leaves_out_defaults_and_applies_as_no_change():
    views = [
        view(topic="on", tags={"yes": "007"}, autoReconnect=True, options={"pingIntervalS": 3}),
        view(id="b", url="ws://ü.example/?q=#x".replace("#", "%23")),
    ]
    items = exported(views)
    assert items[1] == {"id": "b", "url": "ws://ü.example/?q=%23x"}
    assert items[0]["options"] == {"pingIntervalS": 3}
    text = yaml.safe_dump({"connections": items}, allow_unicode=True).encode()
    assert {change.what for change in plan(read_connections(text), views, prune=True)} == {"unchanged"}


DISCONNECT = ("disconnect", {"id": "a", "keep": True})


def test_what_is_kept_without_a_socket_is_exported_as_that_and_made_so_elsewhere():
    (item,) = exported([view(desired="disconnected")])
    assert item == {**A, "disconnected": True}
    change = only(plan(read(item), [], prune=False))
    assert [name for name, _ in change.commands] == ["connect", "disconnect"]
    assert change.commands[1] == DISCONNECT
    assert "disconnected" not in change.commands[0][1]
    assert exported([view(desired="connected")]) == [A]


@pytest.mark.parametrize(
    ("wanted", "desired", "made"),
    [
        ({}, "disconnected", []),
        ({"disconnected": True}, "disconnected", []),
        ({"disconnected": False}, "connected", []),
        ({"disconnected": True}, "connected", [DISCONNECT]),
        ({"disconnected": False}, "disconnected", [("reconnect", {"id": "a"})]),
    ],
)
def test_a_file_that_does_not_speak_of_it_leaves_a_kept_connection_as_it_is(
    wanted: dict[str, Any], desired: str, made: list[Any]
):
    assert commands({**A, **wanted}, view(desired=desired)) == made


def test_a_new_address_of_a_kept_connection_does_not_wake_it():
    made = commands({**A, "url": "ws://b.example/", "disconnected": True}, view(desired="disconnected"))
    assert [name for name, _ in made] == ["connect", "disconnect"]
