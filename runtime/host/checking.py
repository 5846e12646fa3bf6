"""What the guard lets through: every address of a host, each of them judged."""

from __future__ import annotations

from runtime.failure import DialError, Failure, FailureKind
from runtime.guard import Guard, Verdict
from runtime.ports import Resolver
from runtime.urls import Endpoint


async def checked_addresses(endpoint: Endpoint, resolver: Resolver, guard: Guard) -> tuple[str, ...]:
    """Every address of the host, each of them allowed: the one that will be dialled is among them. Raises DialError."""
    _pass(guard.judge_host(endpoint))
    addresses = await resolver.resolve(endpoint.query_name, endpoint.port)
    for address in addresses:
        _pass(guard.judge(endpoint, address))
    if not addresses:
        raise DialError(Failure(FailureKind.TRANSIENT, "the host name has no address"))
    return tuple(addresses)


async def checked_proxy_addresses(
    endpoint: Endpoint, proxy: Endpoint, resolver: Resolver, guard: Guard
) -> tuple[str, ...]:
    """Every address of a proxy; of what is behind it only what the URL says can be judged. Raises DialError."""
    _pass(guard.judge_behind_proxy(endpoint))
    try:
        return await checked_addresses(proxy, resolver, guard)
    except DialError as error:
        failure = error.failure
        raise DialError(Failure(failure.kind, f"the proxy: {failure.reason}", failure.retry_after_s)) from None


def _pass(verdict: Verdict | None) -> None:
    refusal = verdict.refusal if verdict is not None else None
    if refusal is not None:
        raise DialError(Failure(FailureKind.REFUSED, refusal))
