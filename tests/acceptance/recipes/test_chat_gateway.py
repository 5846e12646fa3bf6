"""The recipe of a chat gateway: tokens for one dial, heartbeats, a resume that misses nothing, and throttling."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from tests.acceptance.recipes.gateway import Gateway, chatting
from tests.acceptance.recipes.page import Page
from tests.acceptance.recipes.reader import Reader, following
from tests.processes import free_ports

pytestmark = pytest.mark.acceptance


def _page(gateway: Gateway, backend: int) -> Page:
    place = f"127.0.0.1:{gateway.port}"
    moved = {
        "wss://gateway.chat.example": f"ws://{place}",
        "https://gateway.chat.example": f"http://{place}",
        "@gateway.chat.example": "@127.0.0.1",
        "--allow 127.0.0.1:8090": f"--allow 127.0.0.1:8090,{place}",
        "127.0.0.1:8090": f"127.0.0.1:{backend}",
        "port=8090": f"port={backend}",
    }
    return Page("chat-gateway.md", moved, {"intervalS": 2, "withinS": 2, "reconnectMaxDelayS": 1})


async def _until_said(reader: Reader, *lines: str) -> None:
    """Wait until this is what the backend has told, from its beginning."""
    await reader.until(lambda: reader.lines("backend")[len(lines) - 1 :] != [], f"{lines[-1]} is told")
    assert reader.lines("backend") == list(lines)


async def test_a_session_is_resumed_with_a_fresh_token_and_no_message_is_missing_or_told_twice(tmp_path: Path):
    (port,) = free_ports(1)
    async with (
        chatting(Gateway(secret="our-secret", password="a token of the service")) as gateway,
        following(_page(gateway, port), tmp_path) as reader,
    ):
        await reader.begin_manager("manager")
        await reader.begin("backend")
        await reader.run("apply-bot")
        await _until_said(reader, "ready")
        await gateway.say("one")
        await _until_said(reader, "ready", "one")
        await reader.until(lambda: gateway.heartbeats >= 3, "heartbeats")
        assert len(gateway.dialled) == 1, "a heartbeat was not answered, or not in time"
        assert re.search(r"framesFiltered +([1-9])", await reader.run("look")), "answers to heartbeats are published"

        gateway.cut()
        await gateway.say("two, while nobody hears")
        await _until_said(reader, "ready", "one", "two, while nobody hears", "RESUMED")
        await gateway.say("three")
        said = ["ready", "one", "two, while nobody hears", "RESUMED", "three"]
        await _until_said(reader, *said)
        assert gateway.opened == ["identify", "resume"]

        gateway.sessions.clear()
        gateway.cut()
        await _until_said(reader, *said, "ready")
        assert set(gateway.opened[2:-1]) == {"invalid"}
        assert gateway.opened[-1] == "identify"

        await reader.run("apply-reader")
        await reader.until(lambda: len(gateway.sessions) == 2, "a token that stays opens a session too")
        reader.page.check_all_used()


async def test_no_dial_comes_before_a_throttling_gateway_allows_it(tmp_path: Path):
    (port,) = free_ports(1)
    async with (
        chatting(Gateway(secret="our-secret", password="a token of the service")) as gateway,
        following(_page(gateway, port), tmp_path) as reader,
    ):
        gateway.turned_away = [(429, {"Retry-After": "2"})]
        await reader.begin("backend")
        await reader.begin_manager("manager")
        await reader.run("apply-bot")
        await _until_said(reader, "ready")
        await gateway.send_away(1013)
        await _until_said(reader, "ready", "RESUMED")
        after_429, after_1013 = (later - sooner for sooner, later in pairwise(gateway.dialled))
        assert after_429 >= 2
        assert after_1013 >= 5
        await reader.run("look")
