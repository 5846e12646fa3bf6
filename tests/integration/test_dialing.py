"""From a URL to a socket, over real sockets: what is refused, raced, bounded, cancelled, and never leaked."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from runtime.adapters import sockets
from runtime.adapters.sockets import WebSocketDialer
from runtime.failure import FailureKind
from runtime.guard import Guard
from runtime.host.dialing import GuardedDialer
from runtime.models.options import WebSocketOptions
from tests.dialling import OPTIONS, FixedResolver, dialer, failure_of, nothing_left_open
from tests.loops import on_both_loops
from tests.peers import Certificate, Talk, behave, listening, make_certificate, until

pytestmark = pytest.mark.integration
ODD_LOOPBACKS = ["0x7f.1", "2130706433", "①②⑦.0.0.1", "127.1", "017700000001", "127.0.0.1", "[::1]", "localhost"]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


@contextmanager
def black_hole() -> Iterator[int]:
    """A port of 127.0.0.1 that swallows packets: its queue of connections is full, so the kernel drops the rest."""
    with socket.socket() as hole, socket.socket() as first, socket.socket() as second:
        hole.bind(("127.0.0.1", 0))
        hole.listen(0)
        for filler in (first, second):
            filler.setblocking(False)
            filler.connect_ex(hole.getsockname())
        yield hole.getsockname()[1]


# ---- the guard


@pytest.mark.parametrize("host", ODD_LOOPBACKS)
@on_both_loops
async def test_every_spelling_of_loopback_is_refused_and_never_dialled(host):
    async with listening(behave) as peer:
        failure = await failure_of(dialer(allow_private=False).dial(f"ws://{host}:{peer.port}/", OPTIONS))
        assert failure.kind is FailureKind.REFUSED
        assert "loopback" in failure.reason
        assert "--allow-private" in failure.reason
        assert peer.dials == 0


async def test_one_forbidden_address_among_good_ones_refuses_the_name():
    failure = await failure_of(dialer("127.0.0.1", "169.254.169.254").dial("ws://feed.invalid/", OPTIONS))
    assert failure.reason == (
        "the guard refuses 169.254.169.254: link-local and cloud metadata 169.254.0.0/16; "
        "--allow 169.254.169.254 permits it"
    )


async def test_a_url_that_cannot_be_read_is_never_tried_again():
    failure = await failure_of(dialer().dial("http://user:secret@feed.invalid/", OPTIONS))
    assert failure.kind is FailureKind.FORBIDDEN
    assert "secret" not in failure.reason


async def test_a_name_without_an_address_is_a_failure():
    resolver = FixedResolver()
    guarded = GuardedDialer(resolver, WebSocketDialer(), Guard(True), 1)
    assert "no address" in (await failure_of(guarded.dial("ws://feed.invalid/", OPTIONS))).reason


async def test_what_the_library_cannot_put_into_a_handshake_is_a_failure_that_leaks_nothing(monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("ws://user:secret@feed.invalid/")

    monkeypatch.setattr(sockets, "_Connect", refuse)
    async with listening(behave) as peer, nothing_left_open():
        failure = await failure_of(dialer().dial(peer.url, OPTIONS))
        assert failure.kind is FailureKind.FORBIDDEN
        assert "secret" not in failure.reason
        await until(lambda: peer.gone, "the peer sees the end")


# ---- addresses


@on_both_loops
async def test_the_socket_goes_to_the_checked_address_and_the_handshake_to_the_name():
    async def talk(talk: Talk) -> str:
        return await talk.accept()

    async with listening(talk) as peer:
        guarded = dialer("127.0.0.1")
        (await guarded.dial(f"ws://feed.invalid:{peer.port}/x?y", OPTIONS)).close_now()
        await until(lambda: peer.results, "the peer has seen the handshake")
        request = str(peer.results[0])
        assert request.startswith("GET /x?y HTTP/1.1\r\n")
        assert f"Host: feed.invalid:{peer.port}\r\n" in request
        assert guarded.resolver.asked == ["feed.invalid"]  # type: ignore[attr-defined]


@on_both_loops
async def test_an_address_that_swallows_packets_does_not_eat_the_connect_timeout():
    with black_hole() as port:
        async with listening(behave, host="127.0.0.2", port=port) as peer, nothing_left_open():
            async with asyncio.timeout(8):
                (await dialer("127.0.0.1", "127.0.0.2").dial(f"ws://feed.invalid:{port}/", OPTIONS)).close_now()
            await until(lambda: peer.gone, "the peer sees the end")
            assert peer.dials == 1


@on_both_loops
async def test_an_address_that_refuses_is_followed_by_the_next_at_once():
    async with listening(behave, host="127.0.0.2") as peer:
        guarded = dialer("127.0.0.3", "::1", "127.0.0.2")
        (await guarded.dial(f"ws://feed.invalid:{peer.port}/", OPTIONS)).close_now()
        assert peer.dials == 1


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["127.0.0.1", "127.0.0.2"]])
@on_both_loops
async def test_refused_by_every_address_is_told_as_such(addresses):
    async with nothing_left_open():
        with socket.socket() as closed:
            closed.bind(("127.0.0.1", 0))
            url = f"ws://feed.invalid:{closed.getsockname()[1]}/"
            failure = await failure_of(dialer(*addresses).dial(url, OPTIONS))
        assert failure.reason == "the server cannot be reached: Connection refused"


async def test_a_cancellation_that_the_race_swallows_is_not_lost(monkeypatch):
    made: list[socket.socket] = []

    async def swallow(*_: object, **__: object) -> socket.socket:
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        made.append(socket.socket())
        return made[0]

    monkeypatch.setattr(sockets, "start_connection", swallow)
    task = asyncio.create_task(dialer("127.0.0.1").dial("ws://feed.invalid/", OPTIONS))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert made[0].fileno() == -1


# ---- bounds


@on_both_loops
async def test_a_server_that_never_answers_the_handshake_is_given_up_after_the_connect_timeout():
    async with listening(Talk.until_gone) as peer, nothing_left_open():
        failure = await failure_of(dialer().dial(peer.url, WebSocketOptions(connect_timeout_s=0.2)))
        assert failure.reason == "no connection within 0.2 s (connectTimeoutS)"
        await until(lambda: peer.gone, "the peer sees the end")


async def test_the_wait_for_a_slot_does_not_count_against_the_connect_timeout():
    async def slow(talk: Talk) -> None:
        request = await talk.request()
        await asyncio.sleep(0.3)
        talk.shake(request)
        await talk.until_closed()

    options = WebSocketOptions(connect_timeout_s=3)
    guarded = dialer(max_handshakes=1)
    async with listening(slow) as peer, asyncio.TaskGroup() as group:
        dials = [group.create_task(guarded.dial(peer.url, options)) for _ in range(12)]
        for task in dials:
            (await task).close_now()


@pytest.mark.parametrize("tls", [False, True], ids=["ws", "wss"])
@on_both_loops
async def test_a_dial_cancelled_at_any_moment_leaves_neither_a_socket_nor_a_slot(tls, certificate):
    guarded = dialer("127.0.0.2", "127.0.0.1", max_handshakes=1, tls=certificate.trusting_client())
    server = certificate.server() if tls else None
    async with listening(behave, tls=server) as peer, nothing_left_open():
        url = f"{'wss' if tls else 'ws'}://localhost:{peer.port}/"
        for moment in range(80):
            task = asyncio.create_task(guarded.dial(url, OPTIONS))
            for _ in range(moment):
                await asyncio.sleep(0)
            task.cancel()
            with suppress(asyncio.CancelledError):
                (await task).close_now()
        await until(lambda: peer.gone == peer.dials, "the peer sees every end")
        (await guarded.dial(url, OPTIONS)).close_now()


# ---- TLS


@on_both_loops
async def test_a_certificate_that_nobody_signed_is_told_and_refused(certificate):
    async with listening(behave, tls=certificate.server()) as peer, nothing_left_open():
        failure = await failure_of(dialer().dial(peer.url.replace("ws", "wss"), OPTIONS))
        assert failure.kind is FailureKind.REFUSED
        assert failure.reason == "the server's certificate is not trusted: self-signed certificate"


@on_both_loops
async def test_a_certificate_for_another_name_is_told_and_refused(certificate):
    guarded = dialer("127.0.0.1", tls=certificate.trusting_client())
    async with listening(behave, tls=certificate.server()) as peer:
        failure = await failure_of(guarded.dial(f"wss://other.invalid:{peer.port}/", OPTIONS))
        assert failure.kind is FailureKind.REFUSED
        assert "other.invalid" in failure.reason


@on_both_loops
async def test_a_trusted_certificate_is_checked_against_the_name_of_the_url(certificate):
    guarded = dialer("127.0.0.1", tls=certificate.trusting_client())
    async with listening(behave, tls=certificate.server()) as peer, nothing_left_open():
        live = await guarded.dial(f"wss://localhost:{peer.port}/", OPTIONS)
        await live.close(1000, "")
        await until(lambda: peer.results == [1000], "the peer sees the close frame")


@on_both_loops
async def test_a_server_that_does_not_speak_tls_is_told(certificate):
    async def plain(talk: Talk) -> None:
        await talk.reader.read(100)
        await talk.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async with listening(plain) as peer, nothing_left_open():
        failure = await failure_of(dialer().dial(peer.url.replace("ws", "wss"), OPTIONS))
        assert failure.kind is FailureKind.TRANSIENT
        assert "TLS failed" in failure.reason


async def test_a_server_that_hangs_up_during_tls_is_told():
    async def hang_up(talk: Talk) -> None:
        await talk.reader.read(100)

    async with listening(hang_up) as peer, nothing_left_open():
        failure = await failure_of(dialer().dial(peer.url.replace("ws", "wss"), OPTIONS))
        assert failure.kind is FailureKind.TRANSIENT
        assert failure.reason == "the server hung up during the handshake"
