"""What options put into a handshake, as a peer gets it, and what is made of the peer's answer."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Mapping

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory

from runtime.adapters.sockets import WebSocketSocket
from runtime.failure import FailureKind
from runtime.models.options import WebSocketOptions
from runtime.sources import Handshake
from tests.dialling import dialer, failure_of, lost, next_of
from tests.loops import on_both_loops
from tests.peers import TEXT, Talk, frame, listening

pytestmark = pytest.mark.integration
MIB = 1024 * 1024


async def heard(options: Mapping[str, object], headers: dict[str, str] | None = None) -> list[str]:
    """The lines of our handshake, but for its key."""

    async def hear(talk: Talk) -> list[str]:
        request = await talk.accept()
        await talk.until_closed()
        return request.split("\r\n")[:-2]

    handshake = Handshake(headers=headers or {})
    async with listening(hear) as peer:
        live = await dialer().dial(f"{peer.url}x?y=1", WebSocketOptions.read(options), handshake)
        await live.close(1000, "")
        async with asyncio.timeout(20):
            while not peer.results:
                await asyncio.sleep(0.005)
        (lines,) = peer.results
        assert isinstance(lines, list)
        return [line.replace(str(peer.port), "PORT") for line in lines if not line.startswith("Sec-WebSocket-Key")]


PLAIN = [
    "GET /x?y=1 HTTP/1.1",
    "Host: 127.0.0.1:PORT",
    "Upgrade: websocket",
    "Connection: Upgrade",
    "Sec-WebSocket-Version: 13",
]


@on_both_loops
async def test_without_options_a_handshake_says_only_what_it_must():
    lines = await heard({})
    assert lines[:-1] == PLAIN
    assert lines[-1].startswith("User-Agent: ")


@on_both_loops
async def test_headers_origin_user_agent_and_subprotocols_are_sent_as_they_are_given():
    options = {"origin": "https://app.example", "userAgent": "feed-reader/1", "subprotocols": ["feed.v2", "feed.v1"]}
    lines = await heard(options, {"Authorization": "Bearer a/b=", "X-Empty": ""})
    assert sorted(lines) == sorted(
        [
            *PLAIN,
            "Origin: https://app.example",
            "User-Agent: feed-reader/1",
            "Sec-WebSocket-Protocol: feed.v2, feed.v1",
            "Authorization: Bearer a/b=",
            "X-Empty: ",
        ]
    )


@pytest.mark.parametrize(
    ("bits", "offer"),
    [
        (15, "permessage-deflate; client_max_window_bits"),
        (9, "permessage-deflate; server_max_window_bits=9; client_max_window_bits=9"),
    ],
)
async def test_compression_is_offered_with_its_windows(bits: int, offer: str):
    lines = await heard({"permessageDeflate": True, "deflateWindowBits": bits})
    assert f"Sec-WebSocket-Extensions: {offer}" in lines


# ---- the peer's answer


async def answered(options: dict[str, object], *headers: str):
    async def answer(talk: Talk) -> None:
        talk.shake(await talk.request(), *headers)
        await talk.write(frame(TEXT, b"hello"))
        await talk.until_closed()

    async with listening(answer) as peer:
        yield await dialer().dial(peer.url, WebSocketOptions.read(options))


async def failure_after(options: dict[str, object], *headers: str):
    return await failure_of(anext(answered(options, *headers)))


@on_both_loops
async def test_a_subprotocol_that_was_offered_is_taken():
    async for live in answered({"subprotocols": ["a", "b"], "subprotocolRequired": True}, "Sec-WebSocket-Protocol: b"):
        assert await next_of(live) == "hello"
        live.close_now()


@on_both_loops
async def test_a_subprotocol_that_was_not_offered_is_refused():
    failure = await failure_after({"subprotocols": ["a"]}, "Sec-WebSocket-Protocol: b")
    assert failure.kind is FailureKind.REFUSED
    assert failure.reason == "the server picked a subprotocol that was not offered"


async def test_a_server_may_pick_none_unless_one_is_required():
    async for live in answered({"subprotocols": ["a"]}):
        assert await next_of(live) == "hello"
        live.close_now()
    failure = await failure_after({"subprotocols": ["a"], "subprotocolRequired": True})
    assert failure.kind is FailureKind.REFUSED
    assert failure.reason == "the server picked none of the subprotocols"


# ---- compression


@on_both_loops
@pytest.mark.parametrize("bits", [9, 12, 15])
async def test_compressed_messages_pass_both_ways(bits: int):
    async def echo(connection: ServerConnection) -> None:
        assert connection.protocol.extensions
        async for message in connection:
            await connection.send(message)

    factory = ServerPerMessageDeflateFactory()
    async with serve(echo, "127.0.0.1", 0, compression=None, extensions=[factory]) as server:
        port = server.sockets[0].getsockname()[1]
        options = WebSocketOptions.read({"permessageDeflate": True, "deflateWindowBits": bits})
        live = await dialer().dial(f"ws://127.0.0.1:{port}/", options)
        assert isinstance(live, WebSocketSocket)
        (extension,) = live._connection.protocol.extensions
        assert bits in {15, extension.remote_max_window_bits}  # type: ignore[attr-defined]
        messages: list[str | bytes] = ["", "x" * MIB, b"\0" * MIB, "žluťoučký" * 1000]
        for message in messages:
            await live.send(message)
            assert await next_of(live) == message
        await live.close(1000, "")


@on_both_loops
async def test_what_a_message_unpacks_to_is_bounded_by_the_option_for_its_size():
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = deflate.compress(b"\0" * (256 * MIB)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    assert len(bomb) < MIB

    async def explode(talk: Talk) -> int | None:
        talk.shake(await talk.request(), "Sec-WebSocket-Extensions: permessage-deflate")
        await talk.write(frame(0x42, bomb[:-4]))
        return await talk.until_closed()

    async with listening(explode) as peer:
        live = await dialer().dial(peer.url, WebSocketOptions.read({"permessageDeflate": True, "maxMessageBytes": MIB}))
        assert isinstance(live, WebSocketSocket)
        end = await lost(live)
        assert "1009" in str(end)
        assert "(maxMessageBytes)" in str(end)
        assert end.failure.kind is FailureKind.REFUSED
