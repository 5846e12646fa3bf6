"""From a URL to a socket, guarded: parse, resolve, check every address, then connect to a checked one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from runtime.failure import DialError, Failure, FailureKind
from runtime.guard import Guard
from runtime.host.checking import checked_addresses, checked_proxy_addresses
from runtime.models.options import WebSocketOptions
from runtime.ports import Dial, Dialer, Resolver, Socket
from runtime.sources import PLAIN, Handshake, Proxy
from runtime.urls import Endpoint, ascii_url, parse_url


@dataclass(slots=True)
class GuardedDialer:
    """Dials what the guard allows; at most `max_handshakes` at a time."""

    resolver: Resolver
    dialer: Dialer
    guard: Guard
    max_handshakes: int
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.max_handshakes)

    async def dial(self, url: str, options: WebSocketOptions, handshake: Handshake = PLAIN) -> Socket:
        """A socket after the handshake. Raises DialError; `connect_timeout_s` bounds all but the wait for a slot.

        With a proxy its addresses are dialled.
        """
        try:
            endpoint = parse_url(url)
        except ValueError as error:
            raise DialError(Failure(FailureKind.FORBIDDEN, str(error))) from None
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(options.connect_timeout_s) as deadline:
                # Without a slot: slow names must not hold up other dials.
                addresses = await self._checked(endpoint, handshake.proxy)
                spent = loop.time() - started
                deadline.reschedule(None)
                async with self._slots:
                    deadline.reschedule(loop.time() + options.connect_timeout_s - spent)
                    dial = Dial(ascii_url(url, endpoint), endpoint, addresses, options, handshake)
                    return await self.dialer.dial(dial)
        except TimeoutError:
            reason = f"no connection within {options.connect_timeout_s:g} s (connectTimeoutS)"
            raise DialError(Failure(FailureKind.TRANSIENT, reason)) from None

    async def _checked(self, endpoint: Endpoint, proxy: Proxy | None) -> tuple[str, ...]:
        if proxy is not None:
            return await checked_proxy_addresses(endpoint, proxy.endpoint, self.resolver, self.guard)
        return await checked_addresses(endpoint, self.resolver, self.guard)
