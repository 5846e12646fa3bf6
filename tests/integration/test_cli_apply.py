"""`wsm apply` and `wsm export` against a real endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.wsm import Background, Result, World, free_port, world, wsm

pytestmark = pytest.mark.integration


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with Background(world(tmp_path)) as running:
        yield running.value


def apply(here: World, *items: dict, flags: tuple[str, ...] = ()) -> Result:
    return wsm("apply", "-", *flags, port=here.port, stdin=yaml.safe_dump(list(items)).encode())


def ids(here: World) -> list[str]:
    return [view["id"] for view in wsm("list", "--json", port=here.port).lines()]


def test_apply_makes_the_connections_so_and_a_second_time_changes_nothing(here: World, tmp_path: Path):
    items = [{"id": "a", "url": here.feed.url, "topic": "t"}, {"id": "b", "url": here.feed.url, "autoReconnect": True}]
    (tmp_path / "wanted.yaml").write_text(yaml.safe_dump({"connections": items}))
    first = wsm("apply", str(tmp_path / "wanted.yaml"), port=here.port)
    assert (first.code, first.stdout, first.stderr) == (0, "created a\ncreated b\n", "")
    again = wsm("apply", str(tmp_path / "wanted.yaml"), port=here.port)
    assert (again.code, again.stdout) == (0, "unchanged a\nunchanged b\n")


def test_apply_changes_what_differs_and_tells_which_fields(here: World):
    before = {"id": "a", "url": here.feed.url, "topic": "t", "tags": {"k": "v"}}
    assert apply(here, before).code == 0
    changed = apply(here, {"id": "a", "url": here.feed.url})
    assert (changed.code, changed.stdout) == (0, "changed a: topic, tags\n")
    view = wsm("show", "a", "--json", port=here.port).json()
    assert (view["topic"], view["tags"], view["generation"]) == (None, {}, 1)
    assert apply(here, before | {"options": {"pingIntervalS": 7}}).code == 0
    view = wsm("show", "a", "--json", port=here.port).json()
    assert (view["topic"], view["tags"], view["generation"]) == ("t", {"k": "v"}, 2)
    assert view["options"]["pingIntervalS"] == 7


def test_a_dry_run_tells_and_does_nothing(here: World):
    assert apply(here, {"id": "a", "url": here.feed.url}, {"id": "c", "url": here.feed.url}).code == 0
    wanted = [{"id": "a", "url": here.feed.url}, {"id": "b", "url": here.feed.url}]
    told = apply(here, *wanted, flags=("--prune", "--dry-run"))
    assert (told.code, told.stdout) == (0, "unchanged a\nwould be created b\nwould be removed c\n")
    assert ids(here) == ["a", "c"]


def test_prune_removes_what_is_not_in_the_file(here: World):
    assert apply(here, {"id": "a", "url": here.feed.url}, {"id": "b", "url": here.feed.url}).code == 0
    assert apply(here, {"id": "a", "url": here.feed.url}).code == 0
    assert ids(here) == ["a", "b"]
    pruned = apply(here, {"id": "a", "url": here.feed.url}, flags=("--prune", "--json"))
    assert [(line["id"], line["what"]) for line in pruned.lines()] == [("a", "unchanged"), ("b", "removed")]
    assert ids(here) == ["a"]


def test_a_wrong_entry_stops_all_before_anything_is_sent():
    wanted = yaml.safe_dump([{"id": "a", "url": "ws://a"}, {"id": "b", "url": "nonsense"}]).encode()
    result = wsm("apply", "-", port=free_port(), stdin=wanted)
    assert (result.code, result.stdout) == (1, "")
    first, last = result.stderr.splitlines()
    assert first == "error: -: connection 2 ('b'): url: url must start with ws:// or wss://"
    assert last == "error: nothing was changed"


def test_what_the_manager_refuses_names_the_entry_and_the_rest_goes_on(here: World):
    items = [{"id": "a", "url": "ws://169.254.169.254/"}, {"id": "b", "url": here.feed.url}]
    result = apply(here, *items)
    assert (result.code, result.stdout) == (1, "created b\n")
    assert result.stderr.startswith("error: a: ")
    as_json = apply(here, *items, flags=("--json",))
    assert as_json.code == 1
    assert [line["what"] for line in as_json.lines()] == ["failed", "unchanged"]
    assert "metadata" in as_json.lines()[0]["reason"]


def test_a_record_that_cannot_be_read_fails_alone(tmp_path: Path):
    async def spoil(here: World) -> None:
        await here.manager.dispatch.context.records.store.put("websocket-a", b"garbage", None)
        await here.manager.dispatch.context.records.add_to_index("a")

    with Background(world(tmp_path)) as running:
        here = running.value
        running.do(spoil(here))
        result = apply(here, {"id": "a", "url": here.feed.url}, {"id": "b", "url": here.feed.url})
        assert (result.code, result.stdout) == (1, "created b\n")
        assert result.stderr.startswith("error: a: ")


def test_a_manager_that_is_away_ends_with_3_and_a_missing_file_with_2():
    assert wsm("apply", "-", port=free_port(), stdin=b"- {id: a, url: ws://a}").code == 3
    missing = wsm("apply", "/no/such/file", port=free_port())
    assert missing.code == 2
    assert "cannot be read" in missing.stderr


def test_a_manager_that_leaves_in_between_ends_with_3(tmp_path: Path):
    with Background(world(tmp_path, interval_s=1)) as running:
        here = running.value
        port = here.port
        assert apply(here, {"id": "a", "url": here.feed.url}).code == 0
        exported = wsm("export", port=port).stdout.encode()
    assert wsm("apply", "-", port=port, stdin=exported).code == 3


def test_what_is_exported_applies_as_no_change_and_makes_the_same_elsewhere(here: World, tmp_path: Path):
    options = {"pingIntervalS": 7, "openingMessages": ["hello", {"data": "AAE=", "binary": True}]}
    items: list[dict] = [
        {"id": "a", "url": here.feed.url, "topic": "on", "tags": {"no": "007"}, "options": options},
        {"id": "b", "url": here.feed.url, "autoReconnect": True},
    ]
    assert apply(here, *items).code == 0
    exported = wsm("export", port=here.port)
    assert exported.code == 0
    assert exported.stdout.startswith("# Holds whole URLs")
    assert "token=secret" in exported.stdout
    text = exported.stdout.encode()
    assert wsm("apply", "-", "--prune", port=here.port, stdin=text).stdout == "unchanged a\nunchanged b\n"
    with Background(world(tmp_path / "elsewhere")) as running:
        assert wsm("apply", "-", port=running.value.port, stdin=text).code == 0
        assert wsm("export", port=running.value.port).stdout.encode() == text
    assert wsm("export", "--json", port=here.port).json() == yaml.safe_load(text)
