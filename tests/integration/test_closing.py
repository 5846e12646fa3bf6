"""One live socket over a real connection: pinging and closing, against peers that do not play along."""

from __future__ import annotations

import asyncio
from collections import deque

import pytest

from runtime.failure import SocketLost
from tests.dialling import connected, lost, next_of
from tests.loops import on_both_loops
from tests.peers import PONG, TEXT, Talk, close_frame, frame, until

pytestmark = pytest.mark.integration
MIB = 1024 * 1024


# ---- pinging


@on_both_loops
async def test_a_ping_ends_with_its_pong():
    async with connected(Talk.until_closed) as (live, _):
        async with asyncio.timeout(20):
            await live.ping()
            await live.ping()


@on_both_loops
async def test_pings_that_are_never_answered_do_not_pile_up():
    async def talk(talk: Talk) -> None:
        await talk.until_gone()

    async with connected(talk) as (live, _):
        for _ in range(50):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await live.ping()
        assert len(live._connection.pending_pings) == 0


@on_both_loops
async def test_a_late_pong_hurts_nobody():
    async def talk(talk: Talk) -> None:
        first, second = await talk.read_until_pings(2)
        await talk.write(frame(PONG, first), frame(PONG, second), frame(PONG, b"unasked"))
        await talk.until_closed()

    async with connected(talk) as (live, _):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await live.ping()
        async with asyncio.timeout(20):
            await live.ping()


@on_both_loops
async def test_a_ping_and_a_send_on_a_lost_socket_say_why_it_was_lost():
    async def talk(talk: Talk) -> None:
        await talk.write(close_frame(1008, "no"))

    async with connected(talk) as (live, _):
        await lost(live)
        for call in (live.ping(), live.send("x"), next_of(live)):
            with pytest.raises(SocketLost, match="the peer closed with 1008: no"):
                await call


@on_both_loops
async def test_a_ping_in_flight_ends_with_the_socket():
    async def talk(talk: Talk) -> None:
        await talk.read_frame()

    async with connected(talk) as (live, _):
        with pytest.raises(SocketLost, match="1006"):
            async with asyncio.timeout(20):
                await live.ping()


# ---- closing


@on_both_loops
async def test_closing_shakes_hands():
    async with connected(Talk.until_closed) as (live, peer):
        await live.close(1001, "the manager is stopping")
        await until(lambda: peer.results == [1001], "the peer reads our close frame")
        await live.close(1000, "")


@on_both_loops
async def test_closing_does_not_wait_behind_frames_that_nobody_reads():
    async def talk(talk: Talk) -> int | None:
        await talk.write(*(frame(TEXT, b"x" * 1000) for _ in range(2000)))
        return await talk.until_closed()

    async with connected(talk, close_timeout_s=30) as (live, peer):
        await next_of(live)
        await asyncio.sleep(0.05)  # reading is paused now
        async with asyncio.timeout(15):
            await live.close(1000, "")
        await until(lambda: peer.results == [1000], "the peer reads our close frame")


@on_both_loops
async def test_closing_a_peer_that_reads_nothing_is_bounded():
    stop = asyncio.Event()

    async def talk(_: Talk) -> None:
        await stop.wait()

    async with connected(talk, close_timeout_s=0.2) as (live, _):
        sending = asyncio.create_task(live.send(b"x" * (16 * MIB)))
        await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            await live.close(1000, "")
        with pytest.raises(SocketLost):
            await sending
        stop.set()


@on_both_loops
async def test_closing_while_another_task_reads_ends_both():
    async with connected(Talk.until_closed) as (live, peer):
        reading = asyncio.create_task(lost(live))
        await asyncio.sleep(0)
        await live.close(1000, "")
        assert str(await reading) == "we closed with 1000"
        await until(lambda: peer.results == [1000], "the peer reads our close frame")


@on_both_loops
async def test_closing_twice_at_once_and_cancelled_leaves_nothing():
    stop = asyncio.Event()

    async def talk(_: Talk) -> None:
        await stop.wait()

    async with connected(talk) as (live, peer):
        tasks = [asyncio.create_task(live.close(1000, "")) for _ in range(2)]
        await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        assert all(task.cancelled() for task in tasks)
        assert str(await lost(live)) == "we closed with 1000"
        stop.set()
        await until(lambda: peer.gone, "the peer sees the end")


@on_both_loops
async def test_a_close_that_cannot_be_written_cuts():
    async with connected(Talk.until_gone) as (live, peer):
        await live.close(1000, "x" * 200)
        await until(lambda: peer.gone, "the peer sees the end")


@on_both_loops
async def test_a_reader_gets_all_that_the_peer_sent_before_its_close_frame():
    count = 3000

    async def talk(talk: Talk) -> None:
        await talk.write(*(frame(TEXT, b"%d" % number) for number in range(count - 1)))
        opcode, payload = await talk.read_frame()
        await talk.write(frame(TEXT, b"%d" % (count - 1)), frame(opcode, payload))

    async with connected(talk) as (live, _):
        got = [await next_of(live)]

        def take(messages: deque[str | bytes]) -> None:
            got.extend(messages)
            messages.clear()

        reading = asyncio.create_task(lost(live, take))
        await live.close(1000, "handed over", is_read=True)
        end = await reading
        assert end.complete
        assert got == [str(number) for number in range(count)]


@on_both_loops
async def test_a_peer_that_breaks_off_instead_of_closing_leaves_the_end_uncertain():
    async def talk(talk: Talk) -> None:
        await talk.read_frame()

    async with connected(talk) as (live, _):
        reading = asyncio.create_task(lost(live))
        await asyncio.sleep(0)
        await live.close(1000, "handed over", is_read=True)
        assert not (await reading).complete
