"""Prepare calls over HTTP: one POST to addresses that were checked, and nothing that leads elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from runtime.adapters.http_caller import MAX_ANSWER_BYTES, PinnedHttp
from runtime.errors import PermanentError, TransientError
from tests.dialling import nothing_left_open
from tests.loops import on_both_loops
from tests.peers import Talk, listening, until

pytestmark = pytest.mark.integration
PLANTED = "pl4nted"


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


async def post(port: int, timeout_s: float = 10, host: str = "tokens.invalid", headers: dict[str, str] | None = None):
    url = f"http://{host}:{port}/fe%2Fed?k={PLANTED}"
    return await PinnedHttp().post(url, ("127.0.0.1",), headers or {}, b'{"id": "a"}', timeout_s)


@on_both_loops
async def test_a_call_is_a_post_of_json_to_the_checked_address_whatever_the_name():
    heard: list[str] = []

    async def answer(talk: Talk) -> None:
        head = await talk.request()
        heard.extend([head, (await talk.reader.readexactly(11)).decode()])
        await talk.write(http(b'{"url": "wss://a.example"}'))

    async with listening(answer) as server, nothing_left_open():
        got = await post(server.port, headers={"Authorization": "Bearer x", "content-type": "text/plain"})
        assert (got.status, got.body, got.retry_after_s) == (200, b'{"url": "wss://a.example"}', None)
    assert heard[0].startswith(f"POST /fe%2Fed?k={PLANTED} HTTP/1.1\r\nHost: tokens.invalid:{server.port}\r\n")
    lines = heard[0].lower().split("\r\n")
    assert "authorization: bearer x" in lines
    assert [line for line in lines if line.startswith("content-type")] == ["content-type: application/json"]
    assert heard[1] == '{"id": "a"}'


@on_both_loops
async def test_a_redirect_is_an_answer_like_any_other():
    async with listening(lambda talk: talk.answer(302, "Location: http://127.0.0.1:1/")) as server:
        assert (await post(server.port)).status == 302


async def test_a_server_that_throttles_tells_when_to_come_back():
    async with listening(lambda talk: talk.answer(429, "Retry-After: 17")) as server:
        got = await post(server.port)
        assert (got.status, got.retry_after_s) == (429, 17)


@on_both_loops
async def test_an_answer_without_end_is_cut_off_at_its_bound():
    written = 0

    async def flood(talk: Talk) -> None:
        nonlocal written
        await talk.request()
        await talk.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            await talk.write(b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n")
            written += 0xFFFF

    async with listening(flood) as server, nothing_left_open():
        with pytest.raises(PermanentError, match=f"larger than {MAX_ANSWER_BYTES} bytes"):
            await post(server.port)
    assert written < 100 * MAX_ANSWER_BYTES  # the rest is in buffers of the kernel


@on_both_loops
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"pl4nted\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npl4nted",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n",
    ],
)
async def test_a_server_that_breaks_off_or_talks_nonsense_may_do_better_later(answer: bytes):
    async def reply(talk: Talk) -> None:
        await talk.request()
        await talk.write(answer)

    async with listening(reply) as server, nothing_left_open():
        with pytest.raises(TransientError) as caught:
            await post(server.port)
        assert PLANTED not in f"{caught.value} {caught.value.__cause__}"


@on_both_loops
async def test_a_server_that_drips_ends_with_the_time_of_the_call():
    async def drip(talk: Talk) -> None:
        await talk.request()
        await talk.write(b"HTTP/1.1 200 OK\r\nX: ")
        while True:
            await talk.write(b"y")
            await asyncio.sleep(0.01)

    async with listening(drip) as server, nothing_left_open():
        with pytest.raises(TransientError, match="no answer in time"):
            await post(server.port, timeout_s=0.2)


@on_both_loops
async def test_a_call_that_is_given_up_leaves_the_server():
    async def listen(talk: Talk) -> None:
        await talk.until_gone()

    async with listening(listen) as server, nothing_left_open():
        task = asyncio.create_task(post(server.port))
        await until(lambda: server.dials == 1, "the server is asked")
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        await until(lambda: server.gone == 1, "the server is left")


async def test_no_proxy_of_the_environment_and_no_server_are_told_without_the_url(monkeypatch):
    async with listening(lambda talk: talk.answer(200)) as other:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{other.port}")
        with pytest.raises(TransientError, match=r"cannot be reached \(\w+\)"):
            await post(1)
        assert other.dials == 0
