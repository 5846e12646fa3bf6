"""From a URL to a socket, guarded: parse, resolve, check every address, then connect to a checked one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from runtime.failure import DialError, Failure, FailureKind
from runtime.guard import refusal
from runtime.models.options import WebSocketOptions
from runtime.ports import Dial, Dialer, Resolver, Socket
from runtime.urls import Endpoint, parse_url


@dataclass(slots=True)
class GuardedDialer:
    """Dials what the guard allows; at most `max_handshakes` at a time."""

    resolver: Resolver
    dialer: Dialer
    allow_private: bool
    max_handshakes: int
    _slots: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._slots = asyncio.Semaphore(self.max_handshakes)

    async def dial(self, url: str, options: WebSocketOptions) -> Socket:
        """A socket after the handshake. Raises DialError; `connect_timeout_s` bounds all but the wait for a slot."""
        try:
            endpoint = parse_url(url)
        except ValueError as error:
            raise DialError(Failure(FailureKind.FORBIDDEN, str(error))) from None
        async with self._slots:
            try:
                async with asyncio.timeout(options.connect_timeout_s):
                    addresses = await self._checked(endpoint)
                    return await self.dialer.dial(Dial(url, endpoint, addresses, options))
            except TimeoutError:
                reason = f"no connection within {options.connect_timeout_s:g} s"
                raise DialError(Failure(FailureKind.TRANSIENT, reason)) from None

    async def _checked(self, endpoint: Endpoint) -> tuple[str, ...]:
        addresses = await self.resolver.resolve(endpoint.host, endpoint.port)
        for address in addresses:
            rule = refusal(address, allow_private=self.allow_private)
            if rule is not None:
                hint = "" if self.allow_private else " (--allow-private permits loopback and private networks)"
                reason = f"the guard refuses {address}: {rule}{hint}"
                raise DialError(Failure(FailureKind.REFUSED, reason))
        if not addresses:
            raise DialError(Failure(FailureKind.TRANSIENT, "the host name has no address"))
        return tuple(addresses)
