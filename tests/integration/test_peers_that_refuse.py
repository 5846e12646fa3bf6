"""The whole manager against servers that never come to a handshake: what follows, and what is told, and what is not."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.loops import on_both_loops
from tests.peers import TEXT, Talk, behave, close_frame, frame, listening, until
from tests.running import manager

pytestmark = pytest.mark.integration


# ---- before the handshake


@on_both_loops
async def test_a_name_that_does_not_exist_is_tried_again_and_then_given_up(tmp_path):
    async with manager(tmp_path) as wsm:
        await wsm.connect("ws://nothing.invalid/", reconnectAttempts=2)
        reason = "the host name cannot be resolved"
        assert reason in (await wsm.until("Reconnecting"))["reason"]
        assert "gave up after 2 reconnect attempts: " + reason in (await wsm.until("Disconnected"))["reason"]
        view = await wsm.until_recorded("gave up after 2 reconnect attempts: " + reason)
        assert view["status"] == "Disconnected"


@on_both_loops
async def test_a_server_that_refuses_is_tried_again_and_then_given_up(tmp_path):
    async with listening(behave) as peer:
        url = peer.url
    async with manager(tmp_path) as wsm:
        await wsm.connect(url, reconnectAttempts=2)
        reason = "gave up after 2 reconnect attempts: the server cannot be reached: Connection refused"
        assert (await wsm.until("Disconnected"))["reason"] == reason
        assert len(wsm.statuses("Reconnecting")) == 2


@on_both_loops
async def test_what_the_guard_refuses_is_never_dialled(tmp_path):
    async with manager(tmp_path, allow_private=False) as wsm, listening(behave) as peer:
        await wsm.connect(f"ws://localhost:{peer.port}/", refusedAttempts=2)
        assert "the guard refuses" in (await wsm.until("Disconnected"))["reason"]
        assert peer.dials == 0


# ---- answers that are no handshake


@pytest.mark.parametrize("status", [401, 403, 404])
@on_both_loops
async def test_a_refusal_is_tried_a_few_times_only(tmp_path, status):
    async with manager(tmp_path) as wsm, listening(lambda talk: talk.answer(status)) as peer:
        await wsm.connect(peer.url, refusedAttempts=2, reconnectAttempts=0)
        reason = f"refused 2 times in a row: the server answered HTTP {status} to the handshake"
        assert (await wsm.until("Disconnected"))["reason"] == reason
        await wsm.until_recorded(reason)
        assert peer.dials == 2


@pytest.mark.parametrize(
    ("status", "headers", "least_s"),
    [(429, ["Retry-After: 100"], 100), (503, ["Retry-After: 100"], 100), (429, [], 5), (503, [], 5)],
)
@on_both_loops
async def test_a_server_that_throttles_is_left_alone_for_as_long_as_it_asks(tmp_path, status, headers, least_s):
    async with manager(tmp_path) as wsm, listening(lambda talk: talk.answer(status, *headers)) as peer:
        await wsm.connect(peer.url, reconnectAttempts=1)
        event = await wsm.until("Reconnecting")
        assert least_s <= event["retryInS"] <= 2 * least_s + 1
        assert f"HTTP {status}" in event["reason"]
        await wsm.until_recorded(f"HTTP {status}")
        assert peer.dials == 1


@on_both_loops
async def test_a_server_that_throttles_and_asks_for_no_time_is_tried_beyond_all_limits(tmp_path):
    async with manager(tmp_path) as wsm, listening(lambda talk: talk.answer(503, "Retry-After: 0")) as peer:
        await wsm.connect(peer.url, reconnectAttempts=1, refusedAttempts=1)
        await until(lambda: peer.dials > 4, "the server is dialled again and again")
        assert not wsm.statuses("Disconnected")


@on_both_loops
async def test_a_redirect_is_neither_followed_nor_shown(tmp_path):
    async with manager(tmp_path) as wsm, listening(behave) as target:
        location = f"Location: ws://user:s3cret@127.0.0.1:{target.port}/?key=s3cret"
        async with listening(lambda talk: talk.answer(302, location)) as peer:
            await wsm.connect(peer.url, refusedAttempts=2)
            reason = (await wsm.until("Disconnected"))["reason"]
        assert "HTTP 302" in reason
        assert "redirects are not followed" in reason
        assert target.dials == 0
        assert "s3cret" not in wsm.everything
        assert str(target.port) not in reason


async def hang_up(_: Talk) -> None:
    """Accept, and go."""


async def shake_and_hang_up(talk: Talk) -> None:
    await talk.accept()
    await talk.write(close_frame(1000))


@pytest.mark.parametrize(
    ("talk", "reason"),
    [(hang_up, "the server hung up during the handshake"), (shake_and_hang_up, "the peer closed with 1000")],
)
@on_both_loops
async def test_a_peer_that_accepts_and_hangs_up_is_not_hammered(tmp_path, talk, reason):
    async with manager(tmp_path) as wsm, listening(talk) as peer:
        await wsm.connect(peer.url, reconnectAttempts=4)
        assert (await wsm.until("Disconnected"))["reason"] == f"gave up after 4 reconnect attempts: {reason}"
        assert peer.dials == 5
        retries = [event for event in wsm.statuses("Reconnecting") if event["attempt"]]
        assert [event["attempt"] for event in retries] == [1, 2, 3, 4]  # a short life is forgiven nothing


# ---- secrets and surroundings


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "WS_PROXY", "ws_proxy"])
@on_both_loops
async def test_no_proxy_of_the_environment_is_used(tmp_path, monkeypatch, variable):
    async with manager(tmp_path) as wsm, listening(behave) as peer, listening(Talk.until_gone) as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        await wsm.connect(peer.url)
        await wsm.until("Connected")
        assert (peer.dials, proxy.dials) == (1, 0)


@on_both_loops
async def test_user_info_goes_into_the_authorization_header_and_nowhere_else(tmp_path):
    async def talk(talk: Talk) -> str:
        request = await talk.accept()
        await talk.write(frame(TEXT, b"hello"))
        asyncio.get_running_loop().call_later(0.05, talk.writer.close)
        await talk.until_closed()
        return request

    async with manager(tmp_path) as wsm, listening(talk) as peer:
        url = f"ws://us3r:s%40cret@127.0.0.1:{peer.port}/path?key=t0ken"
        await wsm.connect(url, reconnectAttempts=1)
        await wsm.until("Connected", 2)
        await until(lambda: peer.results and wsm.events("gap"), "the peer has hung up")
        request = str(peer.results[0])
        assert request.startswith("GET /path?key=t0ken HTTP/1.1\r\n")
        assert "Authorization: Basic dXMzcjpzQGNyZXQ=\r\n" in request  # us3r:s@cret
        assert wsm.events("frame")[0]["websocketUrl"] == f"ws://***@127.0.0.1:{peer.port}/path?key=***"
        view = json.dumps(await wsm.command("connection", id="a"))
        for secret in ("us3r", "s%40cret", "s@cret", "t0ken", "dXMzcjpzQGNyZXQ"):
            assert secret not in wsm.everything
            assert secret not in view


@pytest.mark.parametrize(
    "talk",
    [lambda talk: talk.answer(401, "WWW-Authenticate: Basic"), hang_up, Talk.until_gone],
    ids=["401", "hang up", "silence"],
)
@on_both_loops
async def test_no_failure_of_a_dial_shows_a_secret(tmp_path, talk):
    async with manager(tmp_path) as wsm, listening(talk) as peer:
        url = f"ws://us3r:s3cret@127.0.0.1:{peer.port}/path?key=t0ken"
        await wsm.connect(url, reconnectAttempts=1, refusedAttempts=1, connectTimeoutS=0.2)
        await wsm.until("Disconnected")
        shown = wsm.everything + json.dumps(await wsm.command("connection", id="a"))
        assert not [secret for secret in ("us3r", "s3cret", "t0ken") if secret in shown]
