"""An HTTP proxy by explicit option: the tunnel, what goes wrong with it, and what the guard says of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from runtime.adapters.sockets import WebSocketDialer
from runtime.failure import FailureKind
from runtime.guard import Guard
from runtime.guard.entries import read_allowed, read_entries
from runtime.host.dialing import GuardedDialer
from runtime.models.options import WebSocketOptions
from runtime.sources import Handshake, Proxy, TlsMaterial
from runtime.urls import parse_http_url
from tests.dialling import FixedResolver, dialer, failure_of, nothing_left_open
from tests.dials import CountingDialer
from tests.loops import on_both_loops
from tests.peers import Peer, Talk, behave, listening, make_certificate, until

pytestmark = pytest.mark.integration
OPTIONS = WebSocketOptions()
OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


def through(port: int, authorization: str | None = None, **more: object) -> Handshake:
    return Handshake(proxy=Proxy(parse_http_url(f"http://127.0.0.1:{port}"), authorization), **more)  # type: ignore[arg-type]


@asynccontextmanager
async def proxying(target: Peer) -> AsyncIterator[tuple[Peer, list[str]]]:
    """A proxy that leads everybody to one peer, and what it was asked."""
    asked: list[str] = []

    async def relay(talk: Talk) -> None:
        asked.append(await talk.request())
        reader, writer = await asyncio.open_connection(target.host, target.port)
        await talk.write(OPEN)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
                sink.write_eof()

        both = [asyncio.create_task(pump(talk.reader, writer)), asyncio.create_task(pump(reader, talk.writer))]
        try:
            await asyncio.wait(both)
        finally:
            for task in both:
                task.cancel()
            writer.transport.abort()

    async with listening(relay) as proxy:
        yield proxy, asked


@on_both_loops
async def test_a_dial_goes_through_the_proxy_which_alone_looks_the_name_up():
    resolver = FixedResolver("127.0.0.1")
    guarded = GuardedDialer(resolver, WebSocketDialer(), Guard(allow_private=True), 1)
    async with listening(behave) as peer, proxying(peer) as (proxy, asked), nothing_left_open():
        handshake = Handshake(proxy=Proxy(parse_http_url(f"http://proxy.invalid:{proxy.port}"), "Basic dTpw"))
        live = await guarded.dial("ws://Bücher.invalid/x", OPTIONS, handshake)
        await live.close(1000, "")
        await until(lambda: peer.results == [1000], "the peer sees the close frame")
    assert resolver.asked == ["proxy.invalid"]
    assert asked == [
        "CONNECT xn--bcher-kva.invalid:80 HTTP/1.1\r\n"
        "Host: xn--bcher-kva.invalid:80\r\n"
        "Proxy-Authorization: Basic dTpw\r\n\r\n"
    ]


@on_both_loops
async def test_tls_goes_from_us_to_the_server_within_the_tunnel(tmp_path):
    certificate = make_certificate(tmp_path)
    async with listening(behave, tls=certificate.server()) as peer, proxying(peer) as (proxy, asked):
        handshake = through(proxy.port, tls=TlsMaterial(ca=certificate.public))
        live = await dialer("127.0.0.1").dial("wss://localhost/", OPTIONS, handshake)
        await live.close(1000, "")
        assert asked == ["CONNECT localhost:443 HTTP/1.1\r\nHost: localhost:443\r\n\r\n"]


@on_both_loops
async def test_without_the_option_no_proxy_of_the_environment_is_used(monkeypatch):
    async with listening(behave) as other, listening(behave) as peer:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "ALL_PROXY", "ws_proxy", "wss_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{other.port}")
        await (await dialer().dial(peer.url, OPTIONS)).close(1000, "")
        assert other.dials == 0


TRANSIENT, REFUSED, THROTTLED = FailureKind.TRANSIENT, FailureKind.REFUSED, FailureKind.THROTTLED


@on_both_loops
@pytest.mark.parametrize(
    ("answer", "kind", "reason"),
    [
        (b"HTTP/1.1 407 Who are you\r\nX: pl4nted\r\n\r\n", REFUSED, "the proxy answered HTTP 407"),
        (b"HTTP/1.1 403 No\r\nContent-Length: 7\r\n\r\npl4nted", REFUSED, "the proxy answered HTTP 403"),
        (b"HTTP/1.0 502 Bad\r\n\r\n", TRANSIENT, "the proxy answered HTTP 502"),
        (b"HTTP/1.1 503 Busy\r\nretry-after: 17\r\n\r\n", THROTTLED, "the proxy answered HTTP 503"),
        (b"HTTP/1.1 302 There\r\nLocation: http://evil/\r\n\r\n", REFUSED, "the proxy answered HTTP 302"),
        (b"HTTP/1.1 101 Switch\r\n\r\n", TRANSIENT, "the proxy answered HTTP 101"),
        (b"pl4nted\r\n\r\n", TRANSIENT, "the proxy gave an answer that is no HTTP"),
        (b"HTTP/2 200\r\n\r\n", TRANSIENT, "the proxy gave an answer that is no HTTP"),
        (OPEN + b"HTTP/1.1 101 x\r\n", TRANSIENT, "the proxy sent more than an answer"),
        (b"", TRANSIENT, "the proxy hung up"),
        (b"HTTP/1.1 200 x\r\n", TRANSIENT, "the proxy hung up"),
        (b"HTTP/1.1 200 x\r\n" + b"X: y\r\n" * 20_000, TRANSIENT, "the proxy gave an answer without end"),
    ],
)
async def test_a_proxy_that_does_not_open_the_tunnel_is_told(answer: bytes, kind: FailureKind, reason: str):
    async def reply(talk: Talk) -> None:
        await talk.request()
        await talk.write(answer)

    async with listening(reply) as proxy, nothing_left_open():
        failure = await failure_of(dialer().dial("ws://127.0.0.1:9/", OPTIONS, through(proxy.port, "Bearer pl4nted")))
        assert (failure.kind, failure.reason) == (kind, reason)
        assert failure.retry_after_s == (17 if kind is THROTTLED else 0)


@on_both_loops
async def test_a_silent_proxy_ends_with_the_time_for_the_whole_dial():
    async def listen(talk: Talk) -> None:
        await talk.until_gone()

    async with listening(listen) as proxy, nothing_left_open():
        options = WebSocketOptions(connect_timeout_s=0.2)
        failure = await failure_of(dialer().dial("ws://127.0.0.1:9/", options, through(proxy.port)))
        assert failure.reason == "no connection within 0.2 s (connectTimeoutS)"


@on_both_loops
async def test_a_dial_that_is_given_up_leaves_the_proxy():
    async def listen(talk: Talk) -> None:
        await talk.until_gone()

    async with listening(listen) as proxy, nothing_left_open():
        task = asyncio.create_task(dialer().dial("ws://127.0.0.1:9/", OPTIONS, through(proxy.port)))
        await until(lambda: proxy.dials == 1, "the proxy is asked")
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()
        await until(lambda: proxy.gone == 1, "the proxy is left")


async def test_a_proxy_that_is_not_there_is_told():
    failure = await failure_of(dialer().dial("ws://127.0.0.1:9/", OPTIONS, through(1)))
    assert failure.kind is TRANSIENT
    assert failure.reason.startswith("the proxy cannot be reached")


@pytest.mark.parametrize(
    ("guard", "url", "proxy", "reason"),
    [
        (Guard(False), "ws://93.184.215.14/", "http://PROXY", "the proxy: the guard refuses 127.0.0.1: loopback"),
        (Guard(False), "ws://127.0.0.1:PORT/", "http://93.184.215.14", "the guard refuses 127.0.0.1: loopback"),
        (Guard(False), "ws://[::ffff:169.254.169.254]/", "http://93.184.215.14", "metadata"),
        (Guard(False, allow=read_allowed("10.0.0.1")), "ws://a.example/", "http://169.254.169.254", "metadata"),
        (Guard(True, deny=read_entries("a.example")), "ws://a.example/", "http://PROXY", "--deny a.example"),
        (Guard(True, deny=read_entries("127.0.0.0/8")), "ws://a.example/", "http://PROXY", "--deny 127.0.0.0/8"),
        (Guard(True, allow_only=read_entries("b.example")), "ws://a.example/", "http://PROXY", "not in --allow-only"),
        (
            Guard(True, allow_only=read_entries("127.0.0.1")),  # whatever the name resolves to behind the proxy
            "ws://a.example/",
            "http://PROXY",
            "a.example: with port 80 it is not in --allow-only",
        ),
        (
            Guard(True, allow_only=read_entries("a.example")),
            "ws://a.example/",
            "http://PROXY",
            "the proxy: the guard refuses 127.0.0.1",
        ),
    ],
)
async def test_the_guard_judges_the_proxy_and_what_the_url_says_of_what_is_behind_it(
    guard: Guard, url: str, proxy: str, reason: str
):
    async with listening(behave) as peer:
        counting = CountingDialer()
        guarded = GuardedDialer(FixedResolver("127.0.0.1"), counting, guard, 1)
        endpoint = parse_http_url(proxy.replace("PROXY", f"127.0.0.1:{peer.port}"))
        handshake = Handshake(proxy=Proxy(endpoint))
        failure = await failure_of(guarded.dial(url.replace("PORT", str(peer.port)), OPTIONS, handshake))
        assert failure.kind is REFUSED
        assert reason in failure.reason
        assert (counting.dials, peer.dials) == ([], 0)
