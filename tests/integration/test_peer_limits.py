"""What a peer may make us read: the head of its answer, frames and fragments, each by an option."""

from __future__ import annotations

import pytest

from runtime.adapters.sockets import WebSocketSocket
from runtime.failure import FailureKind
from runtime.models.options import KIB, WebSocketOptions
from tests.dialling import connected, dialer, failure_of, lost, next_of
from tests.loops import on_both_loops
from tests.peers import TEXT, Talk, frame, listening

pytestmark = pytest.mark.integration

HEAD = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\n{more}Content-Length: {body}\r\n\r\n"


def answer(head_bytes: int, body_bytes: int = 0) -> bytes:
    """A refusal whose head has exactly so many bytes, in lines that the library allows."""
    bare = HEAD.format(more="", body=body_bytes)
    lines, left = "", head_bytes - len(bare)
    while left:
        size = left if left <= 8000 else min(8000, left - 10)
        lines += "X: " + "x" * (size - 5) + "\r\n"
        left -= size
    return HEAD.format(more=lines, body=body_bytes).encode() + b"b" * body_bytes


@pytest.mark.parametrize(("limit", "piece"), [(KIB, 10**6), (KIB, 1), (64 * KIB, 10**6), (64 * KIB, 1000)])
@pytest.mark.parametrize("beyond", [0, 1])
@on_both_loops
async def test_the_head_of_an_answer_may_have_so_many_bytes_however_it_comes(limit: int, piece: int, beyond: int):
    written = answer(limit + beyond, body_bytes=10 * limit)

    async def talk(talk: Talk) -> None:
        await talk.request()
        for start in range(0, limit + 10, piece):
            await talk.write(written[start : start + piece])
        await talk.write(written[start + piece :])
        await talk.until_gone()

    async with listening(talk) as peer:
        failure = await failure_of(dialer().dial(peer.url, WebSocketOptions(max_handshake_bytes=limit)))
    if beyond:
        assert failure.kind is FailureKind.TRANSIENT
        assert failure.reason == f"the server's answer has more than {limit} bytes (maxHandshakeBytes)"
    else:
        assert (failure.kind, failure.retry_after_s) == (FailureKind.THROTTLED, 7)


@on_both_loops
async def test_what_comes_right_after_the_head_does_not_count():
    async def talk(talk: Talk) -> None:
        talk.shake(await talk.request())
        await talk.write(*(frame(TEXT, b"x" * 100) for _ in range(100)))
        await talk.until_gone()

    async with listening(talk) as peer:
        live = await dialer().dial(peer.url, WebSocketOptions(max_handshake_bytes=KIB))
        assert isinstance(live, WebSocketSocket)
        assert await next_of(live) == "x" * 100
        live.close_now()


@pytest.mark.parametrize("fragments", [3, 4])
@on_both_loops
async def test_a_message_may_have_so_many_fragments(fragments: int):
    async def talk(talk: Talk) -> None:
        await talk.write(*(frame(TEXT if not n else 0, b"x", fin=n == fragments - 1) for n in range(fragments)))
        await talk.until_gone()

    async with connected(talk, max_fragments=3, close_timeout_s=0.5) as (live, _):
        if fragments == 3:
            assert await next_of(live) == "xxx"
        else:
            assert str(await lost(live)) == "we closed with 1009: too many fragments (maxFragments)"


@pytest.mark.parametrize("size", [100, 101])
@on_both_loops
async def test_a_frame_may_have_so_many_bytes_and_a_message_more(size: int):
    async def talk(talk: Talk) -> None:
        await talk.write(frame(TEXT, b"x" * 100, fin=False), frame(0, b"y" * size))
        await talk.until_gone()

    async with connected(talk, max_frame_bytes=100, max_message_bytes=1000, close_timeout_s=0.5) as (live, _):
        if size == 100:
            assert await next_of(live) == "x" * 100 + "y" * 100
        else:
            end = await lost(live)
            assert "1009" in str(end)
            assert str(end).endswith("(maxFrameBytes)")


@on_both_loops
async def test_with_a_limit_for_frames_the_message_that_is_too_large_is_still_blamed_on_its_own():
    async def talk(talk: Talk) -> None:
        await talk.write(frame(TEXT, b"x" * 100, fin=False), frame(0, b"y" * 60))
        await talk.until_gone()

    async with connected(talk, max_frame_bytes=100, max_message_bytes=150, close_timeout_s=0.5) as (live, _):
        assert str(await lost(live)).endswith("(maxMessageBytes)")


@on_both_loops
async def test_a_message_that_is_too_large_right_behind_one_that_is_no_text_is_blamed_on_its_limit():
    async def talk(talk: Talk) -> None:
        await talk.write(frame(TEXT, b"\xff") + frame(TEXT, b"x", size=200))
        await talk.until_gone()

    async with connected(talk, max_message_bytes=100, close_timeout_s=0.5) as (live, _):
        assert str(await lost(live)).endswith("(maxMessageBytes)")
