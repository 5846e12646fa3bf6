"""The whole manager against servers that misbehave after the handshake: what follows, and what is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.loops import on_both_loops
from tests.peers import TEXT, Talk, behave, close_frame, frame, listening, until
from tests.running import manager

pytestmark = pytest.mark.integration
MIB = 1024 * 1024


@on_both_loops
async def test_a_peer_that_stops_answering_pings_is_dialled_again(tmp_path):
    async def talk(talk: Talk) -> None:
        await talk.accept()
        await talk.until_gone()

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        await wsm.connect(peer.url, pingIntervalS=0.1, pingTimeoutS=0.2)
        assert (await wsm.until("Reconnecting"))["reason"] == "no pong and no message within 0.2 s of a ping"
        await wsm.until("Connected", 2)
        assert peer.dials >= 2


@on_both_loops
async def test_a_peer_that_answers_pings_and_says_nothing_else_is_kept(tmp_path):
    pings = 0

    async def talk(talk: Talk) -> None:
        nonlocal pings
        await talk.accept()
        while True:
            _, payload = await talk.read_frame()
            pings += 1
            await talk.write(frame(0xA, payload))

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        await wsm.connect(peer.url, pingIntervalS=0.02, pingTimeoutS=10)
        await until(lambda: pings > 10, "pings are answered")
        assert peer.dials == 1


@on_both_loops
async def test_a_peer_whose_first_message_never_comes_is_stale_when_asked_for(tmp_path):
    async with manager(tmp_path) as wsm, listening(behave) as peer:
        await wsm.connect(peer.url, stableAfterS=0.1, idleTimeoutS=0.3)
        assert (await wsm.until("Reconnecting"))["reason"] == "no message within 0.3 s (idleTimeoutS)"
        await wsm.until("Connected", 2)


@on_both_loops
async def test_the_timers_rest_while_the_queue_is_full(tmp_path):
    stop = asyncio.Event()

    async def talk(talk: Talk) -> None:
        await talk.accept()
        writing = asyncio.create_task(talk.write(*(frame(TEXT, str(n).encode()) for n in range(50))))
        await asyncio.wait({asyncio.create_task(talk.until_closed()), asyncio.create_task(stop.wait())})
        await writing

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        wsm.sink.open.clear()
        timers: Any = {"pingIntervalS": 0.05, "pingTimeoutS": 0.1, "stableAfterS": 0.05, "idleTimeoutS": 0.2}
        await wsm.connect(peer.url, queueMaxMessages=3, **timers)
        keepers = wsm.embedded.resident.host.keepers
        await until(lambda: "a" in keepers and keepers["a"].queue.is_full, "the queue is full")
        await asyncio.sleep(1)
        assert peer.dials == 1
        wsm.sink.open.set()
        await until(lambda: len(wsm.events("frame")) >= 50, "all is published")
        assert [event["payload"] for event in wsm.events("frame")][:50] == [str(n) for n in range(50)]
        stop.set()


@on_both_loops
async def test_a_message_that_is_too_large_closes_with_1009_and_names_the_option(tmp_path):
    async def talk(talk: Talk) -> bytes:
        await talk.accept()
        answer = asyncio.create_task(talk.read_until(0x8))
        await talk.write(frame(TEXT, b"", size=64 * MIB))
        for _ in range(1024):
            await talk.write(b"x" * 65536)
        return (await answer)[:2]

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        await wsm.connect(peer.url, refusedAttempts=1)
        reason = (await wsm.until("Disconnected"))["reason"]
        assert "we closed with 1009" in reason
        assert "maxMessageBytes" in reason
        await wsm.until_recorded("maxMessageBytes")
        await until(lambda: peer.results == [(1009).to_bytes(2)], "the peer reads our close frame")


@pytest.mark.parametrize(
    ("code", "reason", "least_s"),
    [
        (1000, "the peer closed with 1000: why", 0),
        (1001, "the peer closed with 1001: why", 0),
        (1012, "the peer closed with 1012: why", 5),
        (1013, "the peer closed with 1013: why", 5),
        (1006, "the connection broke without a close frame (1006)", 0),
    ],
)
@on_both_loops
async def test_after_a_close_the_peer_is_dialled_again_in_the_time_that_the_code_asks_for(
    tmp_path, code, reason, least_s
):
    closed = asyncio.Event()

    async def talk(talk: Talk) -> None:
        await talk.accept()
        if closed.is_set():
            await talk.until_closed()
            return
        closed.set()
        await talk.write(frame(TEXT, b"last"))
        if code != 1006:
            await talk.write(close_frame(code, "why"))

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        await wsm.connect(peer.url)
        event = await wsm.until("Reconnecting")
        assert event["reason"] == reason
        assert least_s <= event["retryInS"] <= 2 * least_s + 0.1
        await until(lambda: wsm.events("frame"), "the last frame is published")
        if least_s:
            await wsm.until_recorded(reason)
            assert peer.dials == 1
        else:
            await wsm.until("Connected", 2)
            await until(lambda: wsm.events("gap"), "the gap is announced")
            assert wsm.events("gap")[0]["reason"] == reason


@on_both_loops
async def test_a_policy_violation_is_a_refusal(tmp_path):
    async def talk(talk: Talk) -> None:
        await talk.accept()
        await talk.write(close_frame(1008, "why"))
        await talk.until_closed()

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        await wsm.connect(peer.url, refusedAttempts=2, reconnectAttempts=0)
        reason = "refused 2 times in a row: the peer closed with 1008: why"
        assert (await wsm.until("Disconnected"))["reason"] == reason
        await wsm.until_recorded(reason)
        assert peer.dials == 2


# ---- commands while a peer is slow


@on_both_loops
async def test_disconnect_ends_a_dial_that_hangs(tmp_path):
    async with manager(tmp_path) as wsm, listening(Talk.until_gone) as peer:
        await wsm.connect(peer.url, connectTimeoutS=60)
        await until(lambda: peer.dials, "the peer is dialled")
        await wsm.command("disconnect", id="a")
        await wsm.until("Disconnected")
        await until(lambda: peer.gone, "the peer sees the end")


@on_both_loops
async def test_disconnect_closes_with_1000_and_the_end_with_1001(tmp_path):
    async with listening(behave) as peer:
        async with manager(tmp_path) as wsm:
            await wsm.connect(peer.url, "a")
            await wsm.connect(peer.url, "b")
            await wsm.until("Connected", 2)
            await wsm.command("disconnect", id="a")
            await until(lambda: peer.results == [1000], "the peer sees the close frame")
        await until(lambda: peer.results == [1000, 1001], "the peer sees the close frame")


@on_both_loops
async def test_never_more_handshakes_are_in_flight_than_allowed(tmp_path):
    now = most = 0

    async def slow(talk: Talk) -> int | None:
        nonlocal now, most
        request = await talk.request()
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        talk.shake(request)
        return await talk.until_closed()

    async with manager(tmp_path, max_handshakes=2) as wsm, listening(slow) as peer:
        for number in range(6):
            await wsm.connect(peer.url, f"c{number}")
        await wsm.until("Connected", 6)
        assert (most, peer.dials) == (2, 6)
