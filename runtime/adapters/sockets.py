"""The Dialer and Socket ports on the websockets library."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import cache
from typing import cast

from aiohappyeyeballs import AddrInfoType, start_connection
from typing_extensions import override
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    ProtocolError,
    TooManyFragments,
    WebSocketException,
)
from websockets.frames import CloseCode, Opcode
from websockets.protocol import State

from runtime.adapters.clock import SystemClock
from runtime.adapters.inbox import Inbox, Portions
from runtime.adapters.retry_after import parse_retry_after
from runtime.failure import DialError, Failure, FailureKind, SocketLost, classify_close, classify_status
from runtime.ports import Dial, Take

_QUIET = logging.getLogger("runtime.websockets")
_QUIET.setLevel(logging.CRITICAL)
_NEXT_ADDRESS_AFTER_S = 0.25  # RFC 8305, section 8
_RETRY_AFTER_CAP_S = 86_400


@cache
def _default_tls() -> ssl.SSLContext:
    """One context for all: each costs half a megabyte."""
    return ssl.create_default_context()


class _Connect(connect):
    """Without redirects: the library would follow them, with our headers, to where the guard has not looked."""

    @override
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Connection(ClientConnection):
    """Cuts a peer that leaves the closing unfinished: the library leaves that to whoever sends next, maybe nobody."""

    inbox: Inbox
    _cutting: asyncio.TimerHandle | None = None
    _pong: bytes = b""

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        stream = cast(asyncio.Transport, transport)
        self.recv_messages = self.inbox = Inbox(stream)
        stream.set_protocol(Portions(self, self.inbox))

    @override
    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.protocol.handshake_exc is not None:
            self.transport.abort()  # the library would let the peer talk on for the whole close timeout
        elif self.close_deadline is not None:
            self._cut_at(self.close_deadline)

    @override
    def send_data(self) -> None:
        """Of the pongs that a peer does not take, only the last is kept for it (RFC 6455, 5.5.3)."""
        if self.paused:
            others = []
            for data in self.protocol.data_to_send():
                if data and data[0] & 0x0F == Opcode.PONG:
                    self._pong = data
                else:
                    others.append(data)
            self.protocol.writes = others
        super().send_data()

    @override
    def resume_writing(self) -> None:
        super().resume_writing()
        pong, self._pong = self._pong, b""
        if pong and self.state is State.OPEN:
            self.transport.write(pong)

    @override
    def eof_received(self) -> None:
        super().eof_received()
        self._cut_at(self.loop.time() + (self.close_timeout or 0))  # if the peer reads no more, we never finish writing

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._cutting is not None:
            self._cutting.cancel()

    def _cut_at(self, when: float) -> None:
        if self._cutting is None:
            self._cutting = self.loop.call_at(when, self.transport.abort)


class WebSocketDialer:
    """Connects a socket of our own to a checked address and hands it to the library. `tls` is for wss."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls

    async def dial(self, dial: Dial) -> WebSocketSocket:
        sock = await _open(dial)
        try:
            connecting = self._handshake(dial, sock)
        except (InvalidURI, ValueError):
            sock.close()
            raise DialError(Failure(FailureKind.FORBIDDEN, "the URL cannot be put into a handshake")) from None
        try:
            # From here on the socket is the transport's to close.
            connection = cast(_Connection, await connecting)
        except (OSError, EOFError, WebSocketException) as error:
            raise DialError(_dial_failure(error)) from None  # the library's text may hold the whole URL
        connection.inbox.limit_assembly(dial.options.assembly_timeout_s)
        return WebSocketSocket(connection)

    def _handshake(self, dial: Dial, sock: socket.socket) -> _Connect:
        secure = dial.endpoint.secure
        return _Connect(
            dial.url,
            sock=sock,
            ssl=(self._tls or _default_tls()) if secure else None,
            server_hostname=dial.endpoint.host if secure else None,
            proxy=None,
            compression=None,
            open_timeout=None,  # the caller bounds the whole dial
            ping_interval=None,  # the keepalive is ours: it rests while we do not read
            close_timeout=dial.options.close_timeout_s,
            max_size=dial.options.max_message_bytes,
            max_queue=1,
            logger=_QUIET,
            create_connection=_Connection,
        )


async def _open(dial: Dial) -> socket.socket:
    """Race the checked addresses (RFC 8305): one that swallows packets must not eat the whole connect timeout."""
    task = asyncio.current_task()
    assert task is not None
    cancels = task.cancelling()
    infos = [_addr_info(address, dial.endpoint.port) for address in dial.addresses]
    try:
        sock = await start_connection(infos, happy_eyeballs_delay=_NEXT_ADDRESS_AFTER_S, socket_factory=_new_socket)
    except (OSError, RuntimeError) as error:  # uvloop raises RuntimeError for some
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        reason = f"the server cannot be reached: {reason}"
        raise DialError(Failure(FailureKind.TRANSIENT, reason)) from None
    if task.cancelling() > cancels:  # swallowed where the library waits for those who lost the race
        sock.close()
        raise asyncio.CancelledError
    return sock


def _addr_info(address: str, port: int) -> AddrInfoType:
    if ":" in address:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


def _new_socket(info: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    sock = socket.socket(family, kind, protocol)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _dial_failure(error: Exception) -> Failure:
    """What a failed handshake means."""
    match error:
        case InvalidStatus():
            header = error.response.headers.get("Retry-After")
            wait_s = parse_retry_after(header, now=SystemClock().now(), cap_s=_RETRY_AFTER_CAP_S)
            return classify_status(error.response.status_code, wait_s)
        case ssl.SSLCertVerificationError():
            return Failure(FailureKind.REFUSED, f"the server's certificate is not trusted: {error.verify_message}")
        case ssl.SSLError():
            return Failure(FailureKind.TRANSIENT, f"TLS failed: {error.reason or 'the handshake broke'}")
        case InvalidHandshake() if not isinstance(error.__cause__, EOFError):
            return Failure(FailureKind.TRANSIENT, f"the server's answer is no handshake: {type(error).__name__}")
        case _:
            return Failure(FailureKind.TRANSIENT, "the server hung up during the handshake")


class WebSocketSocket:
    """One live websockets connection."""

    __slots__ = ("_connection", "_pings")

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._pings = 0

    async def receive(self, take: Take, until_room: Callable[[], Awaitable[None]]) -> None:
        try:
            while await self._connection.inbox.feed(take):
                await until_room()
            await self._connection.recv()  # raises
        except ConnectionClosed as closed:
            raise _lost(closed) from None

    async def send(self, message: str | bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise _lost(closed) from None
        if self._connection.state is State.CLOSED:  # its wait for room ended because the transport was cut
            raise _lost(self._connection.close_exc)

    async def ping(self) -> None:
        self._pings += 1
        payload = self._pings.to_bytes(8)
        try:
            await (await self._connection.ping(payload))
        except ConnectionClosed as closed:
            raise _lost(closed) from None
        finally:
            self._connection.pending_pings.pop(payload, None)  # or a peer that never answers fills the memory

    async def close(self, code: int, reason: str, *, is_read: bool = False) -> None:
        discarding = None if is_read else asyncio.create_task(self._discard())
        try:
            async with asyncio.timeout(self._connection.close_timeout):  # the library bounds all but its writing
                await self._connection.close(code, reason)
        except (OSError, WebSocketException):
            pass
        finally:
            if discarding is not None:
                discarding.cancel()
            self.close_now()

    async def _discard(self) -> None:
        """Read on, since the peer's close frame comes after all that it had sent before."""
        if not self._connection.inbox.has_reader:
            with suppress(SocketLost):
                await self._connection.inbox.feed(deque.clear)

    def close_now(self) -> None:
        self._connection.transport.abort()


def _lost(closed: ConnectionClosed) -> SocketLost:
    """By `rcvd` and `sent`, not by `close_code`, which cannot tell who closed."""
    if closed.rcvd is not None and closed.rcvd_then_sent is not False:
        is_whole = not isinstance(closed.__cause__, ProtocolError)  # else it closed in the middle of a message
        return SocketLost(classify_close(closed.rcvd.code, closed.rcvd.reason), complete=is_whole)
    if closed.sent is not None:
        reason = closed.sent.reason
        if closed.sent.code == CloseCode.MESSAGE_TOO_BIG and not isinstance(closed.__cause__, TooManyFragments):
            reason += " (maxMessageBytes)"
        is_orderly = closed.rcvd is not None and closed.sent.code in {CloseCode.NORMAL_CLOSURE, CloseCode.GOING_AWAY}
        return SocketLost(classify_close(closed.sent.code, reason, sent_first=True), complete=is_orderly)
    return SocketLost(classify_close(None, ""))
