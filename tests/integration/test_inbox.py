"""Reading: whatever is left, split, broken or cancelled, each message is handed over once, in order."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from random import Random

import pytest

from runtime.adapters.inbox import PORTION_BYTES
from runtime.adapters.sockets import WebSocketSocket
from runtime.models.options import WebSocketOptions
from tests.dialling import connected, dialer, lost
from tests.loops import on_both_loops
from tests.peers import (
    BINARY,
    CLOSE,
    TEXT,
    Certificate,
    Talk,
    close_frame,
    frame,
    listening,
    make_certificate,
    until,
)
from tests.reading import Reader, mixed_messages, on_the_wire

pytestmark = pytest.mark.integration
Messages = deque[str | bytes]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@asynccontextmanager
async def connected_by(talk: Callable, certificate: Certificate | None) -> AsyncIterator[WebSocketSocket]:
    """A socket to a peer that talks like this after the handshake, by TLS if there is a certificate."""

    async def shake_and_talk(stream: Talk) -> None:
        await stream.accept()
        await talk(stream)

    server: ssl.SSLContext | None = certificate.server() if certificate else None
    async with listening(shake_and_talk, tls=server) as peer:
        guarded = dialer(tls=certificate.trusting_client() if certificate else None)
        url = peer.url.replace("ws:", "wss:") if certificate else peer.url
        live = await guarded.dial(url, WebSocketOptions())
        assert isinstance(live, WebSocketSocket)
        try:
            yield live
        finally:
            live.close_now()


@pytest.mark.parametrize("size", [1, 100, 1000, PORTION_BYTES, 5 * PORTION_BYTES])
@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
@on_both_loops
async def test_no_message_is_lost_or_doubled_however_it_is_cut_and_however_little_is_taken(size, secure, certificate):
    chance = Random(size)
    messages = list(mixed_messages(chance, 50 if size == 1 else 500))
    stream = b"".join(on_the_wire(chance, message) for message in messages) + close_frame(1000)

    async def talk(talk: Talk) -> None:
        for start in range(0, len(stream), size):
            await talk.write(stream[start : start + size])
            await asyncio.sleep(0)  # or the loop would write many at once
        await talk.read_until(CLOSE)

    async with connected_by(talk, certificate if secure else None) as live:
        reader = Reader(live, lambda: chance.choice([0, 0, 0, 1, 1, 2, 5, 500]))
        end = await reader.run()
        assert reader.taken == messages
        assert reader.pauses > 3
        assert str(end) == "the peer closed with 1000"
        assert end.complete


@on_both_loops
async def test_a_letter_that_is_split_over_portions_and_fragments_arrives_whole():
    letters = "🙂" * PORTION_BYTES
    data = letters.encode()

    async def talk(talk: Talk) -> None:
        head = frame(TEXT, b"", size=len(data))  # of ten bytes: each portion begins within a letter
        assert (PORTION_BYTES - len(head)) % 4
        await talk.write(head + data)
        await talk.write(frame(TEXT, data[:3], fin=False) + frame(0, data[3:5], fin=False) + frame(0, data[5:8]))
        await talk.write(close_frame(1000))
        await talk.read_until(CLOSE)

    async with connected(talk) as (live, _):
        reader = Reader(live, lambda: 1)
        await reader.run()
        assert reader.taken == [letters, "🙂🙂"]


BROKEN = {
    "utf-8": (frame(TEXT, b"\xf0\x9f\x99"), "we closed with 1007"),
    "utf-8 in fragments": (frame(TEXT, b"\xf0\x9f", fin=False) + frame(0, b"\x99"), "we closed with 1007"),
    "fragments": (
        frame(TEXT, b"x", fin=False) + frame(0, b"x", fin=False) * 5000 + frame(0, b"x"),
        "we closed with 1009: too many fragments",
    ),
    "a reserved opcode": (frame(0x3), "we closed with 1002"),
    "size": (frame(TEXT, b"x", size=2**40), "we closed with 1009"),
}


@pytest.mark.parametrize(("broken", "reason"), BROKEN.values(), ids=BROKEN)
@on_both_loops
async def test_all_before_what_breaks_the_protocol_is_taken_and_nothing_behind_it(broken, reason):
    async def talk(talk: Talk) -> int | None:
        before = b"".join(frame(TEXT, str(number).encode()) for number in range(20))
        await talk.write(before + broken + frame(TEXT, b"behind") + frame(TEXT, b"and more"))
        return await talk.until_closed()

    async with connected(talk, close_timeout_s=60) as (live, peer):
        reader = Reader(live, lambda: 1)
        async with asyncio.timeout(30):  # our close is answered, and the answer is read
            end = await reader.run()
        assert reader.taken == [str(number) for number in range(20)]
        assert str(end).startswith(reason)
        assert not end.complete
        await until(lambda: peer.results, "the peer reads our close frame")
        assert peer.results == [int(reason.split()[3].strip(":"))]


@pytest.mark.parametrize("goes", [True, False], ids=["goes", "stays"])
@on_both_loops
async def test_a_close_frame_right_behind_messages_counts_when_they_are_taken_though_the_peer_is_long_gone(goes):
    async def talk(talk: Talk) -> None:
        frames = [frame(TEXT, str(number).encode()) for number in range(300)]
        await talk.write(b"".join([*frames, close_frame(1001, "bye")]))
        if not goes:
            await talk.until_gone()

    async with connected(talk, close_timeout_s=0.2) as (live, peer):
        reader = Reader(live, lambda: 1)
        reader.may_go_on.clear()
        reading = asyncio.create_task(reader.run())
        await until(lambda: peer.gone, "the peer has gone, or was cut")
        await asyncio.sleep(0.3)
        assert len(reader.taken) == 1
        reader.may_go_on.set()
        end = await reading
        assert reader.taken == [str(number) for number in range(300)]
        assert str(end) == "the peer closed with 1001: bye"
        assert end.complete


@on_both_loops
async def test_while_messages_wait_no_more_is_read_than_one_portion():
    async def talk(talk: Talk) -> None:
        with suppress(OSError):
            for _ in range(1000):
                await talk.write(frame(TEXT) * PORTION_BYTES)

    async with connected(talk) as (live, _):
        most = 0

        def take(messages: Messages) -> None:
            nonlocal most
            most = max(most, len(messages))
            messages.popleft()

        async def until_room() -> None:
            await asyncio.sleep(0)

        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await live.receive(take, until_room)
        assert 100 < most <= PORTION_BYTES // 2  # of a frame without data


@on_both_loops
async def test_a_peer_at_full_speed_takes_turns_with_another():
    """Counted in portions: each has many of them ready at once, and neither may take several while the other waits."""
    portions = 12
    turns: list[str] = []

    async def flood(talk: Talk) -> None:
        with suppress(OSError):
            while True:
                await talk.write(frame(BINARY, bytes(1000)) * 1000)

    async def fill(talk: Talk) -> None:
        await talk.write(frame(BINARY, bytes(1000)) * (portions * PORTION_BYTES // 1000))
        await talk.until_gone()

    async with connected(flood) as (flooding, _), connected(fill) as (other, _):
        await asyncio.sleep(0.5)  # what the kernel takes is there; nobody reads

        def take_as(name: str) -> Callable[[Messages], None]:
            def take(messages: Messages) -> None:
                messages.clear()
                turns.append(name)

            return take

        reading = [
            asyncio.create_task(live.receive(take_as(name), asyncio.Event().wait))
            for name, live in (("flood", flooding), ("other", other))
        ]
        await until(lambda: turns.count("other") >= portions, "the other one is read")
        for task in reading:
            task.cancel()
        await asyncio.wait(reading)
    first, last = turns.index("other"), len(turns) - turns[::-1].index("other")
    between = "".join(name[0] for name in turns[first:last]).split("o")
    assert max(len(run) for run in between) <= 3, between


@on_both_loops
async def test_a_socket_that_is_cut_while_it_lets_others_read_ends_like_any_other():
    async def talk(talk: Talk) -> None:
        with suppress(OSError):
            await talk.write(frame(BINARY, bytes(1000)) * 10_000)

    async with connected(talk) as (live, _):
        taken = 0

        def take(messages: Messages) -> None:
            nonlocal taken
            taken += len(messages)
            messages.clear()
            if taken > 100:
                live.close_now()

        end = await lost(live, take)
        assert str(end) == "the connection broke without a close frame (1006)"
        assert taken < 1000
