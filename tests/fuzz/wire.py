"""The reader of a socket on a network that is in hand: no descriptor is opened, and reads are cut as the test says."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from hashlib import sha1
from typing import Any

from websockets.client import ClientProtocol
from websockets.exceptions import WebSocketException
from websockets.uri import parse_uri

from runtime.adapters.handshake import _deflate
from runtime.adapters.inbox import PORTION_BYTES, Portions
from runtime.adapters.sockets import _QUIET, WebSocketSocket, _Connection, _dial_failure
from runtime.adapters.turns import Turns
from runtime.failure import DialError, SocketLost
from runtime.models.options import WebSocketOptions

_ACCEPT_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_URI = parse_uri("ws://feed.example/")


def client(options: WebSocketOptions) -> ClientProtocol:
    """The library's parser, with what a dial tells it."""
    return ClientProtocol(
        _URI,
        extensions=[_deflate(options.deflate_window_bits)] if options.permessage_deflate else None,
        max_size=(options.max_message_bytes, options.max_frame_bytes or None),
        logger=_QUIET,
    )


def accepting(key: str, *, deflates: bool) -> bytes:
    """A server's answer to a handshake."""
    proof = b64encode(sha1((key + _ACCEPT_KEY).encode()).digest()).decode()
    head = ["HTTP/1.1 101 x", "Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {proof}"]
    head += ["Sec-WebSocket-Extensions: permessage-deflate"] if deflates else []
    return "\r\n".join([*head, "", ""]).encode()


class Network(asyncio.Transport):
    """A transport whose peer sends `chunks`, each of them in reads of its own, and then hangs up."""

    def __init__(self, chunks: Sequence[bytes]) -> None:
        super().__init__()
        self.waiting = deque(chunks)
        self.written: list[bytes] = []
        self.most_buffered = 0
        self._protocol: Any = None
        self._is_paused = self._is_closing = self._is_lost = False
        self._has_ended = False

    def begin(self, connection: _Connection) -> None:
        """The peer has accepted the TCP connection."""
        self._connection = connection
        connection.connection_made(self)
        self._go_on()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        assert isinstance(protocol, Portions)
        self._protocol = protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        self._is_paused = True

    def resume_reading(self) -> None:
        self._is_paused = False
        self._go_on()

    def is_closing(self) -> bool:
        return self._is_closing

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def write(self, data: Any) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        self._is_closing = True
        if not self._is_lost:
            self._is_lost = True
            asyncio.get_running_loop().call_soon(lambda: self._protocol.connection_lost(None))

    def _go_on(self) -> None:
        asyncio.get_running_loop().call_soon(self._read)

    def _read(self) -> None:
        if self._is_paused or self._is_closing or self._has_ended:
            return
        if not self.waiting:
            self._has_ended = True
            self._protocol.eof_received()
            return
        chunk = self.waiting.popleft()
        now, later = chunk[:PORTION_BYTES], chunk[PORTION_BYTES:]
        if later:
            self.waiting.appendleft(later)
        self._protocol.get_buffer(-1)[: len(now)] = now
        self._protocol.buffer_updated(len(now))
        self.most_buffered = max(self.most_buffered, len(self._connection.protocol.reader.buffer))
        self._go_on()


async def read_all(
    options: WebSocketOptions, answer: bytes | None, chunks: Sequence[bytes], take_at_once: int
) -> tuple[list[str | bytes], SocketLost | DialError, Network]:
    """What the service makes of a peer: its messages, and how it has ended.

    `answer`: to the handshake; None: a good one.
    """
    protocol = client(options)
    deflates = options.permessage_deflate
    network = Network([accepting(protocol.key, deflates=deflates) if answer is None else answer, *chunks])
    arguments: dict[str, Any] = {"ping_interval": None, "close_timeout": options.close_timeout_s, "max_queue": 1}
    connection = _Connection(protocol, options=options, turns=Turns(), **arguments)
    network.begin(connection)
    try:
        await connection.handshake()
    except (OSError, EOFError, WebSocketException) as error:
        return [], DialError(_dial_failure(error)), network
    connection.forget_handshake()
    connection.inbox.limit_assembly(options.assembly_timeout_s)
    messages: list[str | bytes] = []

    def take(waiting: deque[str | bytes]) -> None:
        for _ in range(min(take_at_once, len(waiting))):
            messages.append(waiting.popleft())

    async def until_room() -> None:
        await asyncio.sleep(0)

    try:
        await WebSocketSocket(connection).receive(take, until_room)
    except SocketLost as lost:
        return messages, lost, network
    raise AssertionError("reading has ended without a reason")
