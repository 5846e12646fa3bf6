"""From a URL to a socket, guarded: parse, resolve, check every address, then connect to a checked one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from runtime.failure import DialError, Failure, FailureKind
from runtime.guard import Guard, Verdict
from runtime.models.options import WebSocketOptions
from runtime.ports import Dial, Dialer, Resolver, Socket
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

    async def dial(self, url: str, options: WebSocketOptions) -> Socket:
        """A socket after the handshake. Raises DialError; `connect_timeout_s` bounds all but the wait for a slot."""
        try:
            endpoint = parse_url(url)
        except ValueError as error:
            raise DialError(Failure(FailureKind.FORBIDDEN, str(error))) from None
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(options.connect_timeout_s) as deadline:
                addresses = await self._checked(endpoint)  # without a slot: slow names must not hold up other dials
                spent = loop.time() - started
                deadline.reschedule(None)
                async with self._slots:
                    deadline.reschedule(loop.time() + options.connect_timeout_s - spent)
                    return await self.dialer.dial(Dial(ascii_url(url, endpoint), endpoint, addresses, options))
        except TimeoutError:
            reason = f"no connection within {options.connect_timeout_s:g} s (connectTimeoutS)"
            raise DialError(Failure(FailureKind.TRANSIENT, reason)) from None

    async def _checked(self, endpoint: Endpoint) -> tuple[str, ...]:
        """Every address of the host, each of them allowed: the one that will be dialled is among them."""
        self._pass(self.guard.judge_host(endpoint))
        addresses = await self.resolver.resolve(endpoint.query_name, endpoint.port)
        for address in addresses:
            self._pass(self.guard.judge(endpoint, address))
        if not addresses:
            raise DialError(Failure(FailureKind.TRANSIENT, "the host name has no address"))
        return tuple(addresses)

    @staticmethod
    def _pass(verdict: Verdict | None) -> None:
        refusal = verdict.refusal if verdict is not None else None
        if refusal is not None:
            raise DialError(Failure(FailureKind.REFUSED, refusal))
