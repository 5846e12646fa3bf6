"""Handlers and host apart: each command works by topic, by input binding and by invocation, and is answered to all."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.acceptance.dapr.stack import Stack, eventually
from tests.acceptance.feed import FeedProcess

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]


async def _by_topic(stack: Stack, **command: Any) -> None:
    await stack.outsider.command(**command)


async def _by_binding(stack: Stack, **command: Any) -> None:
    stack.mqtt(**command)


async def _by_invocation(stack: Stack, *, command: str, **fields: Any) -> None:
    await stack.outsider.invoke(command, **fields)


WAYS = {"topic": _by_topic, "binding": _by_binding, "invocation": _by_invocation}


@pytest.mark.parametrize("way", WAYS)
async def test_each_command_works_and_each_outcome_reaches_a_subscriber(stack: Stack, feed: FeedProcess, way: str):
    started = time.monotonic()
    await _live(stack, feed, f"by-{way}", WAYS[way])
    assert time.monotonic() - started < 30, "the nudges are lost: each command waits for a sweep, every 10 s"


async def _live(stack: Stack, feed: FeedProcess, id_: str, give: Callable[..., Awaitable[None]]) -> None:
    frames = stack.stream(f"{id_}-frames")
    taken: list[str] = []

    async def done(command: str, *ends: str, **fields: Any) -> None:
        """Give a command, and wait until its outcomes have reached the subscriber."""
        taken.append(command)
        command_id = f"{id_}-{len(taken)}-{command}"
        await give(stack, command=command, id=id_, commandId=command_id, **fields)
        what = f"{command} ends as {ends}, and not as {stack.outsider.ends_of(command_id)}"
        await eventually(lambda: sorted(stack.outsider.ends_of(command_id)) == sorted(ends), what, 40)

    def statuses() -> list[str]:
        return [told["status"] for told in stack.outsider.told("status") if told["connectionId"] == id_]

    async def record() -> Any:
        return await stack.outsider.invoke("connection", id=id_)

    await done("connect", "accepted", url=feed.url(f"numbers/1/{id_}"), autoReconnect=True)
    await eventually(lambda: "Connected" in statuses(), "Connected reaches the subscriber")
    await done("setTags", "accepted", tags={"team": "red"})
    await done("startPublish", "accepted", topic=frames.topic)
    await eventually(lambda: len(frames.read()) > 3, "frames are published")
    await done("stopPublish", "accepted")
    await done("send", "accepted", "done", message=f"hello {id_}")
    await eventually(lambda: any(f"hello {id_}" == line["heard"] for line in feed.told("heard")), "the peer hears it")
    await done("request", "accepted", "done", message=f"how late {id_}")
    view = await record()
    assert (view["tags"], view["topic"], view["generation"]) == ({"team": "red"}, None, 1)
    await done("reconnect", "accepted")
    await eventually(lambda: statuses().count("Connected") == 2, "Connected again")
    await done("disconnect", "accepted", keep=True)
    await eventually(lambda: statuses()[-1] == "Disconnected", "Disconnected reaches the subscriber")
    assert (await record())["status"] == "Disconnected"
    assert [line["closed"] for line in feed.told("closed") if line["path"].endswith(id_)] == [1000, 1000]
