"""The Dialer, Socket and Resolver ports in memory, driven by hand."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from runtime.failure import DialError, Failure, FailureKind, SocketLost, classify_close
from runtime.ports import Dial, Take


class MemorySocket:
    """A socket whose peer is the caller: `push` what it sends, `lose` it, look at `sent` and `closed`."""

    def __init__(self, dial: Dial) -> None:
        self.dial = dial
        self.sent: list[str | bytes] = []
        self.closed: tuple[int, str] | None = None
        self.is_open = True
        self.answers_pings = True
        self.pings = 0
        self.on_send: Callable[[str | bytes], None] | None = None
        self.on_read: Callable[[str | bytes], None] = lambda message: None
        self._read: deque[str | bytes] = deque()
        self._inbox: asyncio.Queue[str | bytes | SocketLost] = asyncio.Queue()

    def push(self, *messages: str | bytes) -> None:
        """The peer sends."""
        for message in messages:
            self._inbox.put_nowait(message)

    def lose(self, code: int | None = None, reason: str = "") -> None:
        """The peer closes; without a code the transport breaks."""
        self._inbox.put_nowait(SocketLost(classify_close(code, reason), complete=code is not None))

    async def receive(self, take: Take, until_room: Callable[[], Awaitable[None]]) -> None:
        while True:
            while self._read:
                first = self._read[0]
                take(self._read)
                if self._read:
                    await until_room()
                else:
                    self.on_read(first)
            message = await self._inbox.get()
            if isinstance(message, SocketLost):
                self.is_open = False
                raise message
            self._read.append(message)

    async def send(self, message: str | bytes) -> None:
        await asyncio.sleep(0)
        if not self.is_open:
            raise SocketLost(classify_close(None, ""))
        self.sent.append(message)
        if self.on_send is not None:
            self.on_send(message)

    async def ping(self) -> None:
        self.pings += 1
        if not self.answers_pings:
            await asyncio.Event().wait()

    async def close(self, code: int, reason: str, *, is_read: bool = False) -> None:
        await asyncio.sleep(0)
        if not self.is_open:
            return
        self.closed = (code, reason)
        if is_read:
            self._inbox.put_nowait(SocketLost(classify_close(code, reason, sent_first=True), complete=True))
        else:
            self.is_open = False

    def close_now(self) -> None:
        self.is_open = False


class MemoryDialer:
    """Gives a fresh MemorySocket for each dial, or the failures that were put in `failures`, first in, first out."""

    def __init__(self, before: Callable[[Dial], Awaitable[None]] | None = None) -> None:
        self.sockets: list[MemorySocket] = []
        self.failures: list[Failure] = []
        self.dials = 0
        self.before = before
        self.on_dial: Callable[[MemorySocket], None] | None = None

    async def dial(self, dial: Dial) -> MemorySocket:
        self.dials += 1
        await asyncio.sleep(0)
        if self.before is not None:
            await self.before(dial)
        if self.failures:
            raise DialError(self.failures.pop(0))
        socket = MemorySocket(dial)
        self.sockets.append(socket)
        if self.on_dial is not None:
            self.on_dial(socket)
        return socket


class MemoryResolver:
    """Resolves every name to one public address, save those in `hosts`."""

    def __init__(self, hosts: dict[str, list[str]] | None = None) -> None:
        self.hosts = hosts or {}

    async def resolve(self, host: str, port: int) -> list[str]:
        addresses = self.hosts.get(host, ["93.184.215.14"])
        if not addresses:
            raise DialError(Failure(FailureKind.TRANSIENT, "the host name cannot be resolved"))
        return addresses
