"""The Dialer and Socket ports on the websockets library."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from email.utils import parsedate_to_datetime
from functools import cache

from typing_extensions import override
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    WebSocketException,
)

from runtime.adapters.clock import SystemClock
from runtime.failure import DialError, Failure, FailureKind, SocketLost, classify_close, classify_status
from runtime.ports import Dial

_QUIET = logging.getLogger("runtime.websockets")
_QUIET.setLevel(logging.CRITICAL)


@cache
def _tls() -> ssl.SSLContext:
    """One context for all: each costs half a megabyte."""
    return ssl.create_default_context()


class _Connect(connect):
    """Without redirects: the library would follow them, with our headers, to where the guard has not looked."""

    @override
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class WebSocketDialer:
    """Connects a socket of our own to a checked address and hands it to the library."""

    async def dial(self, dial: Dial) -> WebSocketSocket:
        sock = await _open(dial)
        secure = dial.endpoint.secure
        try:
            connection = await _Connect(
                dial.url,
                sock=sock,
                ssl=_tls() if secure else None,
                server_hostname=dial.endpoint.host if secure else None,
                proxy=None,
                compression=None,
                open_timeout=None,  # the caller bounds the whole dial
                ping_interval=None,  # the keepalive is ours: it rests while we do not read
                close_timeout=dial.options.close_timeout_s,
                max_size=dial.options.max_message_bytes,
                max_queue=1,
                logger=_QUIET,
            )
        except BaseException as error:
            sock.close()
            failure = _dial_failure(error)
            if failure is None:
                raise
            raise DialError(failure) from None  # the library's text may hold the whole URL
        return WebSocketSocket(connection)


async def _open(dial: Dial) -> socket.socket:
    loop = asyncio.get_running_loop()
    reason = "no address"
    for address in dial.addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await loop.sock_connect(sock, (address, dial.endpoint.port))
        except OSError as error:
            sock.close()
            reason = error.strerror or str(error)
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise DialError(Failure(FailureKind.TRANSIENT, f"the server cannot be reached: {reason}"))


def _dial_failure(error: BaseException) -> Failure | None:
    """What a failed handshake means; None for what is not a failure of the dial."""
    match error:
        case InvalidStatus():
            return classify_status(error.response.status_code, _retry_after(error.response.headers.get("Retry-After")))
        case ssl.SSLCertVerificationError():
            return Failure(FailureKind.REFUSED, f"the server's certificate is not trusted: {error.verify_message}")
        case ssl.SSLError():
            return Failure(FailureKind.TRANSIENT, f"TLS failed: {error.reason or 'the handshake broke'}")
        case InvalidURI():
            return Failure(FailureKind.REFUSED, "the server redirects to an address that is not followed")
        case InvalidHandshake():
            return Failure(FailureKind.TRANSIENT, f"the handshake is invalid: {type(error).__name__}")
        case WebSocketException() | OSError() | EOFError():
            return Failure(FailureKind.TRANSIENT, "the server hung up during the handshake")
        case _:
            return None


def _retry_after(value: str | None) -> float | None:
    """Retry-After (RFC 9110, 10.2.3): seconds or a date."""
    if value is None:
        return None
    if value.strip().isdigit():
        return float(min(int(value), 86_400))
    try:
        return max(0.0, (parsedate_to_datetime(value) - SystemClock().now()).total_seconds())
    except (ValueError, TypeError):
        return None


class WebSocketSocket:
    """One live websockets connection."""

    __slots__ = ("_connection",)

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    async def receive(self) -> str | bytes:
        try:
            return await self._connection.recv()
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def send(self, message: str | bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def ping(self) -> None:
        try:
            pong = await self._connection.ping()
            await pong
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def close(self, code: int, reason: str) -> None:
        try:
            await self._connection.close(code, reason)
        except (OSError, WebSocketException):
            self.close_now()

    def close_now(self) -> None:
        self._connection.transport.abort()


def _lost(closed: ConnectionClosed) -> SocketLost:
    """By `rcvd` and `sent`, not by `close_code`, which cannot tell who closed."""
    if closed.rcvd is not None and closed.rcvd_then_sent is not False:
        return SocketLost(classify_close(closed.rcvd.code, closed.rcvd.reason), complete=True)
    if closed.sent is not None:
        return SocketLost(classify_close(closed.sent.code, closed.sent.reason, sent_first=True))
    return SocketLost(classify_close(None, ""))
