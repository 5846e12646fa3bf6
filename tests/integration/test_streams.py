"""The whole manager on real sockets: opening script, heartbeat, age, filters and payloads as JSON."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from tests.loops import on_both_loops
from tests.peers import BINARY, CLOSE, TEXT, Talk, close_frame, frame, listening, until
from tests.running import manager

pytestmark = pytest.mark.integration
LOGIN = {
    "data": '{"op":"login"}',
    "expect": {"pointer": "/op", "equals": "welcome"},
    "refusedBy": {"pointer": "/op", "equals": "no"},
}
HELLO = {"expect": {"regex": '^{"op":"hello"'}}


def text(value: object) -> bytes:
    return frame(TEXT, value.encode() if isinstance(value, str) else json.dumps(value, separators=(",", ":")).encode())


@on_both_loops
async def test_a_script_of_greeting_login_and_subscription_runs_again_after_each_dial(tmp_path):
    heard: list[str] = []

    async def talk(talk: Talk) -> None:
        talk.shake(await talk.request())
        await talk.write(text({"op": "hello"}))  # perhaps in the same packet as the handshake
        heard.append((await talk.read_until(TEXT)).decode())
        await talk.write(text({"op": "news"}), text({"op": "welcome"}))
        heard.append((await talk.read_until(TEXT)).decode())
        await talk.write(text({"op": "tick"}), close_frame(1001))

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        await wsm.connect(peer.url, openingMessages=[HELLO, LOGIN, "subscribe"], stableAfterS=0)
        await wsm.until("Connected", 2)
        await until(lambda: len(heard) >= 4, "the script ran twice")
        assert heard[:4] == ['{"op":"login"}', "subscribe"] * 2
        await until(lambda: len(wsm.events("frame")) >= 8, "all was published")
        ops = [json.loads(event["payload"])["op"] for event in wsm.events("frame")]
        assert ops[:8] == ["hello", "news", "welcome", "tick"] * 2


@on_both_loops
async def test_a_login_that_is_refused_and_one_without_an_answer_never_count_as_connected(tmp_path):
    for answer, kind in ([text({"op": "no"})], "the peer refused step 1 of 1"), ([], "no message ended step 1 of 1"):

        async def talk(talk: Talk, answer: list[bytes] = answer) -> None:
            await talk.accept()
            await talk.read_until(TEXT)
            await talk.write(*answer)
            await talk.until_gone()

        folder = tmp_path / str(len(answer))
        async with manager(folder) as wsm, listening(talk) as peer:
            steps = [LOGIN | {"withinS": 0.3}]
            await wsm.connect(peer.url, openingMessages=steps, refusedAttempts=2, reconnectAttempts=2)
            assert kind in (await wsm.until("Disconnected"))["reason"]
            assert wsm.statuses("Connected") == []
            assert peer.dials == (2 if answer else 3)


@on_both_loops
async def test_a_peer_that_stops_answering_heartbeats_is_dialled_again_though_it_answers_pings(tmp_path):
    async def talk(talk: Talk) -> None:
        await talk.accept()
        for _ in range(3):
            assert await talk.read_until(TEXT) == b"ping"
            await talk.write(text("pong"))
        await talk.until_closed()

    heartbeat = {
        "data": "ping",
        "intervalS": 0.2,
        "expect": {"contains": "pong"},
        "publishAnswers": False,
    }
    async with manager(tmp_path) as wsm, listening(talk) as peer:
        await wsm.connect(peer.url, heartbeat=heartbeat, pingIntervalS=0.05)
        lost = await wsm.until("Reconnecting")
        assert lost["reason"] == "the peer did not answer a heartbeat within 0.2 s (heartbeat.intervalS)"
        await wsm.until("Connected", 2)
        assert (await wsm.command("connection", id="a"))["framesFiltered"] >= 3
        assert wsm.events("frame") == []


@on_both_loops
async def test_a_socket_that_has_reached_its_age_gives_way_to_a_new_one_and_nothing_it_said_is_lost(tmp_path):
    async def talk(talk: Talk) -> None:
        await talk.accept()
        await talk.read_until(CLOSE)
        await talk.write(text("last words"), close_frame(1000))

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        await wsm.connect(peer.url, maxAgeS=0.3, stableAfterS=0.1, closeTimeoutS=10)
        await wsm.until("Connected", 2)
        await until(
            lambda: "last words" in [event["payload"] for event in wsm.events("frame")], "it was read to the end"
        )


@on_both_loops
async def test_only_what_is_asked_for_is_published_as_json_and_the_numbers_have_no_holes(tmp_path):
    async def talk(talk: Talk) -> None:
        await talk.accept()
        for number in range(200):
            await talk.write(
                text({"e": "trade", "n": number}), text({"e": "tick"}), frame(BINARY, b"\x00"), text("trade?")
            )
        await talk.until_closed()

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        only = {"regex": "trade"}
        await wsm.connect(peer.url, onlyText=True, onlyMatching=only, jsonPayload=True, queueMaxMessages=7)
        await until(lambda: len(wsm.events("frame")) == 400, "all that is asked for was published")
        frames = wsm.events("frame")
        assert [each["sequence"] for each in frames] == list(range(1, 401))
        assert [each["payload"] for each in frames[::2]] == [{"e": "trade", "n": number} for number in range(200)]
        assert {(each["payload"], each["contentType"]) for each in frames[1::2]} == {("trade?", "text/plain")}
        assert (await wsm.command("connection", id="a"))["framesFiltered"] == 400
        assert wsm.events("gap") == []


async def test_an_expression_made_to_hold_the_loop_does_not(tmp_path):
    async def talk(talk: Talk) -> None:
        await talk.accept()
        for _ in range(20):
            await talk.write(frame(TEXT, b"a" * 1_000_000))
        await talk.until_closed()

    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, time.perf_counter() - before)

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        watching = asyncio.create_task(watch())
        await wsm.connect(peer.url, onlyMatching={"regex": "(a?){100}(a+)+b"})
        async with asyncio.timeout(60):
            while (await wsm.command("connection", id="a")).get("framesFiltered") != 20:
                await asyncio.sleep(0.05)
        watching.cancel()
        assert longest < 5  # one of 500 instructions takes 65 ms; a machine may be busy
