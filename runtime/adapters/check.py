"""What the guard says of a URL, step by step, without dialling it."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.adapters.resolver import SystemResolver
from runtime.failure import DialError
from runtime.guard import Guard, Verdict
from runtime.ports import Resolver
from runtime.urls import Endpoint, parse_url


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The end of it, and the steps that were taken; one that was not come to is empty.

    `host`: what a list says of a name; None for an address, and for a name whose addresses decide.
    """

    is_allowed: bool
    reason: str
    endpoint: Endpoint | None = None
    host: Verdict | None = None
    addresses: tuple[Verdict, ...] = ()


async def check_url(url: str, guard: Guard, resolver: Resolver | None = None) -> CheckResult:
    """Read, resolve and judge a URL as a dial would."""
    try:
        endpoint = parse_url(url)
    except ValueError as error:
        return CheckResult(is_allowed=False, reason=str(error))
    if endpoint.address is not None:
        return _end(endpoint, [endpoint.host], guard)
    host = guard.judge_host(endpoint)
    if host is not None and host.refusal is not None:
        return CheckResult(False, host.refusal, endpoint, host)
    try:
        found = await (resolver or SystemResolver()).resolve(endpoint.query_name, endpoint.port)
    except DialError as error:
        return CheckResult(False, str(error), endpoint)
    return _end(endpoint, found, guard)


def _end(endpoint: Endpoint, addresses: list[str], guard: Guard) -> CheckResult:
    judged = tuple(guard.judge(endpoint, address) for address in addresses)
    refused = next((verdict.refusal for verdict in judged if verdict.refusal is not None), None)
    if not judged:
        refused = "the host name has no address"
    return CheckResult(refused is None, refused or "it may be dialled", endpoint, addresses=judged)
