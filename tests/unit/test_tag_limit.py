"""How many connections may have the same tag."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from runtime.models import tag_members
from runtime.models.tag_members import GRACE_S, PAGES, TIDIED_AT, TagMembers, tags_key
from runtime.ports import Limits
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time

TENANT = {"tenant": "x"}


def world_of(limit: int = 3, counted: tuple[str, ...] = ()) -> World:
    return World(Limits(max_connections_per_tag=limit, counted_tags=counted))


async def connected(world: World, id_: str, tags: dict[str, str] = TENANT, **fields: Any) -> str:
    outcome = await world.command("connect", id=id_, url=URL, tags=tags, **fields)
    return f"{outcome['status']}: {outcome['reason']}" if outcome["status"] == "rejected" else outcome["status"]


@virtual_time
async def test_one_more_than_the_limit_is_rejected_with_both_numbers_and_leaves_nothing():
    world = world_of()
    assert [await connected(world, id_) for id_ in "abc"] == ["accepted"] * 3
    said = await connected(world, "d")
    expected = "3 connections have the tag tenant=x, and no more than 3 may (--max-connections-per-tag)"
    assert said == f"rejected: {expected}"
    assert "websocket-d" not in world.store.values
    assert await connected(world, "d", {"tenant": "y"}) == "accepted"
    assert await connected(world, "e", {}) == "accepted"


@virtual_time
async def test_the_same_again_is_no_more():
    world = world_of()
    for _ in range(3):
        assert [await connected(world, id_) for id_ in "abc"] == ["accepted"] * 3
    assert await connected(world, "a", {**TENANT, "more": "1"}, replace=True) == "accepted"


@virtual_time
async def test_tags_set_later_count_too():
    world = world_of()
    for id_ in "abcd":
        assert await connected(world, id_, {}) == "accepted"
    ends = [(await world.command("setTags", id=id_, tags=TENANT))["status"] for id_ in "abcd"]
    assert ends == ["accepted"] * 3 + ["rejected"]
    assert not (await world.record("d")).tags


@pytest.mark.parametrize(
    ("name", "fields"), [("disconnect", {}), ("setTags", {"tags": {}}), ("setTags", {"tags": {"tenant": "y"}})]
)
def test_a_place_is_free_when_a_connection_no_longer_has_the_tag(name: str, fields: dict[str, Any]):
    @virtual_time
    async def run():
        world = world_of()
        for id_ in "abc":
            await connected(world, id_)
        await world.settle(GRACE_S + 1)
        assert (await connected(world, "d")).startswith("rejected")
        await world.command(name, id="a", **fields)
        assert await connected(world, "d") == "accepted"
        assert (await connected(world, "e")).startswith("rejected")

    run()


@virtual_time
async def test_a_command_that_is_rejected_for_something_else_keeps_its_place_for_a_while_only():
    world = world_of()
    for id_ in "ab":
        await connected(world, id_)
    await connected(world, "c", {})
    outcome = await world.command("connect", id="c", url="wss://other.example/", tags=TENANT)
    assert outcome["status"] == "rejected"
    assert (await connected(world, "d")).startswith("rejected")
    await world.settle(GRACE_S + 1)
    assert await connected(world, "d") == "accepted"


@virtual_time
async def test_a_connection_that_has_the_tag_since_before_the_limit_is_not_refused_it():
    world = World()
    for id_ in "abcde":
        await connected(world, id_)
    world.limits = Limits(max_connections_per_tag=3)
    world.new_host()
    assert [await connected(world, id_) for id_ in "abcde"] == ["accepted"] * 5
    assert (await connected(world, "f")).startswith("rejected: 5 connections")


@virtual_time
async def test_only_the_tags_that_are_counted_are_limited():
    world = world_of(1, ("tenant",))
    assert await connected(world, "a", {"tenant": "x", "env": "prod"}) == "accepted"
    assert await connected(world, "b", {"tenant": "y", "env": "prod"}) == "accepted"
    assert (await connected(world, "c", {"tenant": "y", "env": "prod"})).startswith("rejected")


@virtual_time
async def test_commands_that_come_at_once_do_not_exceed_it():
    world = world_of(5)

    async def slow(operation: str, key: str) -> None:
        await asyncio.sleep(0.01)

    world.store.before = slow
    ends = await asyncio.gather(*(connected(world, f"c{number}") for number in range(20)))
    assert ends.count("accepted") == 5


@virtual_time
async def test_without_a_limit_nothing_is_kept():
    world = World()
    assert await connected(world, "a") == "accepted"
    assert not [key for key in world.store.values if key.startswith("websocket.tags")]


def test_what_is_kept_of_tags_that_nobody_has_any_more_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(tag_members, "PAGES", 1)

    @virtual_time
    async def run():
        world = world_of()
        assert await connected(world, "kept") == "accepted"
        await connected(world, "a")
        for number in range(5 * TIDIED_AT):
            outcome = await world.command("setTags", id="a", tags={"n": str(number)})
            assert outcome["status"] == "accepted"
            await world.settle(GRACE_S / 2)
        page = TagMembers.model_validate_json(world.store.values["websocket.tags.0"].value)
        assert len(page.members) <= TIDIED_AT
        assert list(page.of("tenant=x")) == ["kept"]

    run()


def test_there_are_no_more_keys_than_pages():
    assert len({tags_key(f"tenant={number}") for number in range(20 * PAGES)}) == PAGES
