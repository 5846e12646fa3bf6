"""Our side of the protocol against servers on libraries that are not ours: what passes, whole and in bounded memory."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tracemalloc
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
import uvloop
from websockets.extensions.permessage_deflate import PerMessageDeflate

from runtime.adapters.sockets import WebSocketSocket
from runtime.failure import FailureKind, SocketLost
from runtime.models.options import WebSocketOptions
from tests.dialling import dialer, lost, never, next_of
from tests.foreign_peers.running import (
    BINARY,
    BUILD,
    COMMANDS,
    FRAGMENTING,
    SUBPROTOCOL,
    TEXT,
    ForeignPeer,
    foreign_peer,
)
from tests.loops import on_both_loops
from tests.peers import until
from tests.running import manager

pytestmark = pytest.mark.integration
MIB = 1024 * 1024
CHUNK = 64 * 1024
CHUNKS = 100_000_000 // CHUNK + 1
SENT: list[str | bytes] = [
    *("", b"", "žluťoučký kůň", bytes(range(256))),
    *(kind * size for kind in ("x", b"x") for size in (125, 126, 65_535, 65_536, MIB)),
]


@pytest.fixture(scope="module", params=COMMANDS)
def peer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForeignPeer]:
    with foreign_peer(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running


@asynccontextmanager
async def dialled(peer: ForeignPeer, path: str, **options: object) -> AsyncIterator[WebSocketSocket]:
    live = await dialer().dial(peer.url(path), WebSocketOptions.model_validate(options))
    assert isinstance(live, WebSocketSocket)
    try:
        yield live
    finally:
        live.close_now()


# ---- the handshake


@on_both_loops
async def test_what_was_not_asked_for_is_not_negotiated(peer):
    async with dialled(peer, "/hello") as live:
        assert json.loads(await next_of(live)) == {"subprotocol": "", "offered": ""}
        protocol = live._connection.protocol
        assert (protocol.subprotocol, protocol.extensions) == (None, [])


@on_both_loops
async def test_what_was_asked_for_is_negotiated_and_used(peer):
    asked = {"subprotocols": ["feed.v9", SUBPROTOCOL], "subprotocolRequired": True, "permessageDeflate": True}
    async with dialled(peer, "/hello", **asked) as live:
        hello = json.loads(await next_of(live))
        assert hello["subprotocol"] == SUBPROTOCOL
        assert "permessage-deflate" in hello["offered"]
        protocol = live._connection.protocol
        assert protocol.subprotocol == SUBPROTOCOL
        assert isinstance(protocol.extensions[0], PerMessageDeflate)
        for message in SENT:
            await live.send(message)
            assert await next_of(live) == message


# ---- messages


@on_both_loops
async def test_text_and_binary_messages_come_back_as_they_were(peer):
    async with dialled(peer, "/echo") as live:
        for message in SENT:
            await live.send(message)
            assert await next_of(live) == message


@pytest.mark.parametrize("peer", FRAGMENTING, indirect=True, scope="module")
@on_both_loops
async def test_fragments_become_whole_messages(peer):
    async with dialled(peer, "/fragments") as live:
        assert await next_of(live) == TEXT
        assert await next_of(live) == BINARY


def test_100_mb_each_way_pass_whole_and_in_order_in_bounded_memory(peer):
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(peak_of_an_echo(peer)) < 8 * MIB


async def peak_of_an_echo(peer: ForeignPeer) -> int:
    """Send and read at once, as fast as both can; the most memory that was taken meanwhile."""
    body = bytes(range(256)) * (CHUNK // 256)
    count = 0

    def take(messages: deque[str | bytes]) -> None:
        nonlocal count
        while messages:
            assert messages.popleft() == count.to_bytes(8) + body[8:]
            count += 1

    async with dialled(peer, "/echo") as live:
        tracemalloc.start()
        try:
            reading = asyncio.create_task(live.receive(take, never))
            for number in range(CHUNKS):
                await live.send(number.to_bytes(8) + body[8:])
            await until(lambda: count == CHUNKS or reading.done(), "all has come back", 120)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        await live.close(1000, "", is_read=True)
        with pytest.raises(SocketLost, match="we closed with 1000"):
            await reading
    assert count == CHUNKS
    return peak


# ---- pings


@on_both_loops
async def test_our_pings_are_answered(peer):
    async with dialled(peer, "/echo") as live:
        reading = asyncio.create_task(lost(live))
        async with asyncio.timeout(20):
            for _ in range(3):
                await live.ping()
        await live.close(1000, "")
        await reading


@on_both_loops
async def test_the_pings_of_the_peer_are_answered(peer):
    async with dialled(peer, "/ping") as live:
        message = await next_of(live)
        assert message == "pong: are you there"


# ---- ends


@on_both_loops
async def test_the_peer_reads_our_close_code(peer):
    before = len(peer.codes("/echo"))
    async with dialled(peer, "/echo") as live:
        reading = asyncio.create_task(lost(live))
        await asyncio.sleep(0)
        await live.close(4002, "žluťoučký kůň", is_read=True)
        await reading
        await until(lambda: peer.codes("/echo")[before:] == [4002], "the peer has read our close code")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1000, FailureKind.TRANSIENT),
        (1001, FailureKind.TRANSIENT),
        (1008, FailureKind.REFUSED),
        (1012, FailureKind.THROTTLED),
        (4001, FailureKind.TRANSIENT),
    ],
)
@on_both_loops
async def test_we_read_the_close_code_of_the_peer_after_all_that_came_before(peer, code, kind):
    async with dialled(peer, f"/close?code={code}&reason=why") as live:
        assert await next_of(live) == "last"
        end = await lost(live)
        assert (str(end), end.failure.kind, end.complete) == (f"the peer closed with {code}: why", kind, True)


@on_both_loops
async def test_a_peer_that_is_killed_is_a_connection_that_broke(tmp_path, peer):
    with foreign_peer(peer.name, tmp_path) as other:
        async with dialled(other, "/echo") as live:
            await live.send("x")
            assert await next_of(live) == "x"
            other.kill()
            assert str(await lost(live)) == "the connection broke without a close frame (1006)"


# ---- the whole manager


@on_both_loops
async def test_the_manager_publishes_what_the_peer_sends_and_dials_it_again(tmp_path, peer):
    async with manager(tmp_path) as wsm:
        await wsm.connect(peer.url("/close?code=1001&reason=why"), pingIntervalS=0.1)
        await wsm.until("Connected", 3)
        await until(lambda: len(wsm.events("frame")) >= 3, "frames are published")
        assert {event["payload"] for event in wsm.events("frame")} == {"last"}
        assert wsm.statuses("Reconnecting")[0]["reason"] == "the peer closed with 1001: why"


# ---- building them

TOOLS = ("sh", "dirname", "cat", "cksum", "tr", "sed", "awk")


@pytest.mark.parametrize(
    ("programs", "error"),
    [
        ({}, "node 18 or newer is needed, and there is no node on PATH: see https://nodejs.org"),
        ({"node": "v16.20.0"}, "node 18 or newer is needed; this one is 16.20: see https://nodejs.org"),
        ({"node": "v20.1.0"}, "go 1.23 or newer is needed, and there is no go on PATH: see https://go.dev/doc/install"),
        ({"node": "v20.1.0", "go": "go1.9.7"}, "go 1.23 or newer is needed; this one is 1.9: see https://go.dev"),
        (
            {"node": "v20.1.0", "go": "go1.26.8"},
            "npm is needed, and there is none on PATH: it comes with https://nodejs",
        ),
    ],
    ids=["no node", "old node", "no go", "old go", "no npm"],
)
def test_a_missing_tool_fails_with_how_to_get_it(tmp_path, programs, error):
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None
        (tmp_path / tool).symlink_to(found)
    for program, version in programs.items():
        (tmp_path / program).write_text(f"#!/bin/sh\necho {version}\n")
        (tmp_path / program).chmod(0o755)
    env = {"PATH": str(tmp_path), "HOME": str(tmp_path)}
    build = subprocess.run([BUILD], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert build.returncode == 1
    assert build.stderr.startswith(f"peers: {error}")
    assert not build.stdout
