"""What the guard says of a URL, without dialling it."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.adapters.resolver import SystemResolver
from runtime.failure import DialError
from runtime.guard import Guard
from runtime.urls import parse_url


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The verdict, and for each address the rule that refuses it or None."""

    allowed: bool
    reason: str
    addresses: list[tuple[str, str | None]] = field(default_factory=list)


async def check_url(url: str, guard: Guard) -> CheckResult:
    """Parse, resolve and judge a URL as a dial would."""
    try:
        endpoint = parse_url(url)
    except ValueError as error:
        return CheckResult(allowed=False, reason=str(error))
    try:
        found = await SystemResolver().resolve(endpoint.host, endpoint.port)
    except DialError as error:
        return CheckResult(allowed=False, reason=str(error))
    judged = [(address, guard.refusal(address)) for address in found]
    bad = next((f"{address} is refused: {rule}" for address, rule in judged if rule), None)
    return CheckResult(bad is None, bad or "every address may be dialled", judged)
