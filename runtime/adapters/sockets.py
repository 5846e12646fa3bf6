"""The Dialer and Socket ports on the websockets library."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, cast

from aiohappyeyeballs import AddrInfoType, start_connection
from typing_extensions import override
from websockets.asyncio.client import ClientConnection, connect
from websockets.datastructures import Headers
from websockets.exceptions import (
    ConnectionClosed,
    InvalidHandshake,
    InvalidStatus,
    InvalidURI,
    NegotiationError,
    WebSocketException,
)
from websockets.frames import Opcode
from websockets.protocol import State

from runtime.adapters.handshake import handshake_arguments
from runtime.adapters.head import Head, HeadTooLarge
from runtime.adapters.inbox import Inbox, Portions
from runtime.adapters.loss import loss
from runtime.adapters.retry_after import retry_after_s
from runtime.adapters.tls import TlsContexts
from runtime.adapters.tunnel import open_tunnel
from runtime.adapters.turns import Turns
from runtime.failure import DialError, Failure, FailureKind, classify_status
from runtime.models.options import WebSocketOptions
from runtime.ports import Dial, Take

_QUIET = logging.getLogger("runtime.websockets")
_QUIET.setLevel(logging.CRITICAL)
_NEXT_ADDRESS_AFTER_S = 0.25  # RFC 8305, section 8


class _Connect(connect):
    """Without redirects: the library would follow them, with our headers, to where the guard has not looked."""

    @override
    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


class _Connection(ClientConnection):
    """Cuts a peer that leaves the closing unfinished: the library leaves that to whoever sends next, maybe nobody."""

    # Beyond 30 attributes the instances of a class no longer share the keys of their dictionaries: 1.6 KB for each.
    __slots__ = ("_cutting", "_head", "_max_fragments", "_pong", "_turns", "inbox")

    inbox: Inbox

    def __init__(self, *args: Any, options: WebSocketOptions, turns: Turns, **arguments: Any) -> None:
        super().__init__(*args, **arguments)
        self._turns = turns
        self._cutting: asyncio.TimerHandle | None = None
        self._pong = b""
        self._head, self._max_fragments = Head(options.max_handshake_bytes), options.max_fragments

    @override
    async def handshake(self, *args: Any, **arguments: Any) -> None:
        try:
            await super().handshake(*args, **arguments)
        except WebSocketException:
            self._head.check()
            raise

    def forget_handshake(self) -> None:
        """Nobody looks at it again, and it takes 3 KB."""
        self.request = None
        if self.response is not None:
            self.response.headers = Headers()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        stream = cast(asyncio.Transport, transport)
        self.recv_messages = self.inbox = Inbox(stream, self._max_fragments)
        stream.set_protocol(Portions(self, self.inbox, self._turns))

    @override
    def data_received(self, data: bytes) -> None:
        if self._head.is_open and self._head.is_too_large_with(data):
            self.transport.abort()
            return
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
        if self.protocol.parser_exc is not None:
            self.protocol.parser_exc.__traceback__ = None  # its frames hold the protocol: only the collector frees that
        if self._cutting is not None:
            self._cutting.cancel()

    def _cut_at(self, when: float) -> None:
        if self._cutting is None:
            self._cutting = self.loop.call_at(when, self.transport.abort)


class WebSocketDialer:
    """Connects a socket of our own to a checked address and hands it to the library.

    `tls`: for wss, where a dial asks for nothing of its own.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls, self._contexts, self._turns = tls, TlsContexts(), Turns()

    async def dial(self, dial: Dial) -> WebSocketSocket:
        arguments = handshake_arguments(dial, self._contexts, self._tls)
        sock = await _open(dial)
        try:
            connecting = self._handshake(dial, sock, arguments)
        except (InvalidURI, ValueError):
            sock.close()
            raise DialError(Failure(FailureKind.FORBIDDEN, "the URL cannot be put into a handshake")) from None
        try:
            # From here on the socket is the transport's to close.
            connection = cast(_Connection, await connecting)
        except (OSError, EOFError, WebSocketException) as error:
            raise DialError(_dial_failure(error)) from None  # the library's text may hold the whole URL
        if dial.options.subprotocol_required and connection.subprotocol is None:
            connection.transport.abort()
            raise DialError(Failure(FailureKind.REFUSED, "the server picked none of the subprotocols"))
        connection.forget_handshake()
        connection.inbox.limit_assembly(dial.options.assembly_timeout_s)
        return WebSocketSocket(connection)

    def _handshake(self, dial: Dial, sock: socket.socket, arguments: Mapping[str, Any]) -> _Connect:
        return _Connect(
            dial.url,
            sock=sock,
            **arguments,
            proxy=None,
            compression=None,  # the library's own choice of it; ours is among the arguments
            open_timeout=None,  # the caller bounds the whole dial
            ping_interval=None,  # the keepalive is ours: it rests while we do not read
            close_timeout=dial.options.close_timeout_s,
            max_size=(dial.options.max_message_bytes, dial.options.max_frame_bytes or None),
            max_queue=1,
            logger=_QUIET,
            create_connection=cast(type[_Connection], partial(_Connection, options=dial.options, turns=self._turns)),
        )


async def _open(dial: Dial) -> socket.socket:
    """Race the checked addresses (RFC 8305): one that swallows packets must not eat the whole connect timeout."""
    task = asyncio.current_task()
    assert task is not None
    cancels = task.cancelling()
    proxy = dial.handshake.proxy
    port = (proxy.endpoint if proxy is not None else dial.endpoint).port
    infos = [_addr_info(address, port) for address in dial.addresses]
    try:
        sock = await start_connection(infos, happy_eyeballs_delay=_NEXT_ADDRESS_AFTER_S, socket_factory=_new_socket)
    except (OSError, RuntimeError) as error:  # uvloop raises RuntimeError for some
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)
        reason = f"the {'server' if proxy is None else 'proxy'} cannot be reached: {reason}"
        raise DialError(Failure(FailureKind.TRANSIENT, reason)) from None
    if task.cancelling() > cancels:  # swallowed where the library waits for those who lost the race
        sock.close()
        raise asyncio.CancelledError
    if proxy is not None:
        try:
            await open_tunnel(sock, dial.endpoint, proxy)
        except BaseException:
            sock.close()
            raise
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
            wait_s = retry_after_s(error.response.headers.get("Retry-After"))
            return classify_status(error.response.status_code, wait_s)
        case ssl.SSLCertVerificationError():
            return Failure(FailureKind.REFUSED, f"the server's certificate is not trusted: {error.verify_message}")
        case ssl.SSLError():
            return Failure(FailureKind.TRANSIENT, f"TLS failed: {error.reason or 'the handshake broke'}")
        case NegotiationError() if str(error).startswith("unsupported subprotocol"):
            return Failure(FailureKind.REFUSED, "the server picked a subprotocol that was not offered")
        case HeadTooLarge():
            return Failure(FailureKind.TRANSIENT, str(error))
        case InvalidHandshake() if not isinstance(error.__cause__, EOFError):
            return Failure(FailureKind.TRANSIENT, f"the server's answer is no handshake: {type(error).__name__}")
        case _:
            return Failure(FailureKind.TRANSIENT, "the server hung up during the handshake")


class WebSocketSocket:
    """One live websockets connection."""

    __slots__ = ("_connection", "_frame_bytes", "_pings")

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._frame_bytes = connection.protocol.max_fragment_size
        self._pings = 0

    async def receive(self, take: Take, until_room: Callable[[], Awaitable[None]]) -> None:
        try:
            while await self._connection.inbox.feed(take):
                await until_room()
            await self._connection.recv()  # raises
        except ConnectionClosed as closed:
            raise loss(closed, self._frame_bytes) from None

    async def send(self, message: str | bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise loss(closed, self._frame_bytes) from None
        if self._connection.state is State.CLOSED:  # its wait for room ended because the transport was cut
            raise loss(self._connection.close_exc, self._frame_bytes)

    async def ping(self) -> None:
        self._pings += 1
        payload = self._pings.to_bytes(8)
        try:
            await (await self._connection.ping(payload))
        except ConnectionClosed as closed:
            raise loss(closed, self._frame_bytes) from None
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
            await self._connection.inbox.feed(deque.clear)

    def close_now(self) -> None:
        self._connection.transport.abort()
