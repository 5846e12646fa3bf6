"""One live socket over a real connection: reading from peers that do not play along."""

from __future__ import annotations

import asyncio
import tracemalloc

import pytest

from runtime.failure import FailureKind, SocketLost
from tests.dialling import connected, lost, next_of
from tests.loops import on_both_loops
from tests.peers import BINARY, CLOSE, PING, TEXT, Talk, close_frame, frame, until

pytestmark = pytest.mark.integration
MIB = 1024 * 1024


@on_both_loops
async def test_what_came_before_the_close_is_read_before_the_end_is_told():
    async def talk(talk: Talk) -> None:
        await talk.write(*(frame(TEXT, str(n).encode()) for n in range(500)), close_frame(1001, "bye"))

    async with connected(talk) as (live, peer):
        await until(lambda: peer.gone, "the peer has gone")
        received = [await next_of(live) for _ in range(500)]
        assert received == [str(n) for n in range(500)]
        end = await lost(live)
        assert end.complete
        assert str(end) == "the peer closed with 1001: bye"


@on_both_loops
async def test_binary_and_fragmented_messages_arrive_whole():
    async def talk(talk: Talk) -> None:
        await talk.write(frame(BINARY, b"\x00\xff"), frame(TEXT, b"a", fin=False), frame(PING), frame(0, b"b"))
        await talk.until_closed()

    async with connected(talk) as (live, _):
        assert await next_of(live) == b"\x00\xff"
        assert await next_of(live) == "ab"


@on_both_loops
async def test_a_peer_that_says_it_closes_and_does_not_is_cut():
    async def talk(talk: Talk) -> None:
        await talk.write(close_frame(1000))
        await talk.until_gone()

    async with connected(talk, close_timeout_s=0.2) as (live, _):
        end = await lost(live)
        assert end.complete
        assert str(end) == "the peer closed with 1000"


@on_both_loops
async def test_a_peer_that_ends_the_stream_and_reads_no_more_is_cut():
    stop = asyncio.Event()

    async def talk(talk: Talk) -> None:
        await talk.read_frame()
        talk.writer.write_eof()
        await stop.wait()

    async with connected(talk, close_timeout_s=0.2) as (live, _):
        sending = asyncio.create_task(live.send(b"x" * (16 * MIB)))
        await asyncio.sleep(0)
        second = asyncio.create_task(live.send(b"x" * (16 * MIB)))
        end = await lost(live)
        assert not end.complete
        for task in (sending, second):
            with pytest.raises(SocketLost):
                await task
        stop.set()


@on_both_loops
async def test_what_nobody_reads_stays_with_the_peer():
    written = 0

    async def talk(talk: Talk) -> None:
        nonlocal written
        while written < 128 * MIB:
            await talk.write(frame(BINARY, bytes(65000)))
            written += 65000

    async with connected(talk):
        before = -1
        while written != before:  # until TCP pushes back
            before = written
            await asyncio.sleep(0.3)
        assert written < 64 * MIB


@pytest.mark.parametrize("fragments", [1, 64])
@on_both_loops
async def test_a_message_of_64_mib_is_refused_with_1009_in_bounded_memory(fragments):
    piece = b"x" * (64 * MIB // fragments)
    codes: list[int] = []

    async def talk(talk: Talk) -> None:
        answers = asyncio.create_task(talk.read_until(CLOSE))
        for number in range(fragments):
            opcode = TEXT if number == 0 else 0
            await talk.write(frame(opcode, b"", fin=number == fragments - 1, size=len(piece)))
            for start in range(0, len(piece), 65536):
                await talk.write(piece[start : start + 65536])
        codes.append(int.from_bytes((await answers)[:2]))

    async with connected(talk) as (live, _):
        tracemalloc.start()
        try:
            end = await lost(live)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert end.failure.kind is FailureKind.REFUSED
        assert "we closed with 1009" in str(end)
        assert "(maxMessageBytes)" in str(end)
        assert not end.complete
        await until(lambda: codes, "the peer reads our close frame")
        assert codes == [1009]
        assert peak < 8 * MIB


@on_both_loops
async def test_a_message_in_too_many_fragments_is_refused_and_the_option_is_named():
    async def talk(talk: Talk) -> bytes:
        answer = asyncio.create_task(talk.read_until(CLOSE))
        await talk.write(frame(TEXT, b"x", fin=False), *(frame(0, b"x", fin=False) for _ in range(5000)))
        return (await answer)[:2]

    async with connected(talk, close_timeout_s=0.5) as (live, peer):
        assert str(await lost(live)) == "we closed with 1009: too many fragments (maxFragments)"
        await until(lambda: peer.results, "the peer reads our close frame")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(TEXT, b"\xff\xfe"), 1007),
        (close_frame(1005), 1002),
        (close_frame(1006), 1002),
        (close_frame(999), 1002),
        (close_frame(2999), 1002),
        (close_frame(5000), 1002),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(0x3), 1002),
        (b"\xc1\x00", 1002),
        (frame(0, b"continues nothing"), 1002),
    ],
    ids=["utf-8", "1005", "1006", "999", "2999", "5000", "short close", "opcode", "extension bit", "continuation"],
)
@on_both_loops
async def test_a_peer_that_breaks_the_protocol_is_told_so_and_refused(data, code):
    async def talk(talk: Talk) -> int | None:
        await talk.write(data)
        return await talk.until_closed()

    async with connected(talk) as (live, peer):
        end = await lost(live)
        assert str(end).startswith(f"we closed with {code}: ")
        assert end.failure.kind is FailureKind.REFUSED
        assert not end.complete
        await until(lambda: peer.results == [code], "the peer reads our close frame")


@on_both_loops
async def test_a_peer_that_is_cut_off_is_a_1006():
    async def talk(talk: Talk) -> None:
        await talk.write(frame(TEXT, b"last"))

    async with connected(talk) as (live, _):
        assert await next_of(live) == "last"
        end = await lost(live)
        assert str(end) == "the connection broke without a close frame (1006)"
        assert not end.complete
