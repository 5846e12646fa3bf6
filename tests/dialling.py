"""The real chain of a dial, from the URL to the socket, for tests."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import psutil
import pytest

from runtime.adapters.resolver import SystemResolver
from runtime.adapters.sockets import WebSocketDialer, WebSocketSocket
from runtime.failure import DialError, SocketLost
from runtime.guard import Guard
from runtime.host.dialing import GuardedDialer
from runtime.models.options import WebSocketOptions
from runtime.ports import Take
from tests.peers import Talk, listening, until

OPTIONS = WebSocketOptions()


class FixedResolver:
    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.addresses


def dialer(*addresses: str, allow_private: bool = True, max_handshakes: int = 50, tls=None) -> GuardedDialer:
    """The real chain; given addresses, only its name look-up is replaced."""
    resolver = FixedResolver(*addresses) if addresses else SystemResolver()
    return GuardedDialer(resolver, WebSocketDialer(tls), Guard(allow_private), max_handshakes)


async def failure_of(dialing):
    with pytest.raises(DialError) as caught:
        await dialing
    return caught.value.failure


@asynccontextmanager
async def nothing_left_open() -> AsyncIterator[None]:
    """What is open at the end was open before; a transport may take a moment to close."""
    process = psutil.Process()
    before = process.num_fds()
    yield
    await until(lambda: process.num_fds() <= before, "every descriptor is closed")


@asynccontextmanager
async def connected(talk, **options):
    """A socket to a peer that talks like this after the handshake."""

    async def shake_and_talk(stream: Talk) -> object:
        await stream.accept()
        return await talk(stream)

    guarded = dialer()
    async with listening(shake_and_talk) as peer:
        live = await guarded.dial(peer.url, WebSocketOptions(**options))
        assert isinstance(live, WebSocketSocket)
        try:
            yield live, peer
        finally:
            live.close_now()


async def lost(live: WebSocketSocket, take: Take = deque.clear) -> SocketLost:
    """Read to the end."""
    async with asyncio.timeout(20):
        try:
            await live.receive(take, never)
        except SocketLost as end:
            return end
    raise AssertionError("reading has ended without a reason")


async def next_of(live: WebSocketSocket) -> str | bytes:
    """One message, and no more is taken. Raises SocketLost."""
    got: asyncio.Future[str | bytes] = asyncio.get_running_loop().create_future()

    def take(messages: deque[str | bytes]) -> None:
        if not got.done():
            got.set_result(messages.popleft())

    async def read() -> None:
        try:
            await live.receive(take, never)
        except SocketLost as end:
            got.set_exception(end)

    reading = asyncio.create_task(read())
    try:
        async with asyncio.timeout(20):
            return await got
    finally:
        reading.cancel()
        await asyncio.wait({reading})


async def never() -> None:
    """There will be no room."""
    await asyncio.Event().wait()
