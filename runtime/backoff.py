"""How long to wait before the next attempt, and when to stop: pure arithmetic behind tenacity's wait and stop."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.failure import Failure, FailureKind
from runtime.models.options import WebSocketOptions


@dataclass(frozen=True, slots=True)
class Exhausted:
    """No further attempt: why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Retry:
    """Wait `delay_s`, then attempt number `attempt` (failures in a row so far)."""

    delay_s: float
    attempt: int


@dataclass(slots=True)
class Backoff:
    """Exponential backoff with full jitter: delay = random · min(cap, base · 2^(failures - 1)), at least Retry-After.

    Failures are forgiven only after `stable_after_s` of life, so that a peer that accepts and hangs up is not
    hammered. The first redial after a stable life still waits a full jitter over the base delay, so that a mass cut
    is no mass dial. A throttled attempt grows the delay but counts against no limit.
    """

    options: WebSocketOptions
    failures: int = 0
    counted: int = 0
    refusals: int = 0
    last: Retry | Exhausted | None = field(default=None)

    def decide(self, failure: Failure, lived_s: float, random: float) -> Retry | Exhausted:
        """What follows a failure of a socket that lived `lived_s` (0 for a failed dial). `random` is in [0, 1)."""
        if lived_s >= self.options.stable_after_s and lived_s > 0:
            self.failures = self.counted = self.refusals = 0
        self.failures += 1
        if failure.kind is not FailureKind.THROTTLED:
            self.counted += 1
        self.refusals = self.refusals + 1 if failure.kind is FailureKind.REFUSED else 0
        self.last = self._verdict(failure, random)
        return self.last

    def _verdict(self, failure: Failure, random: float) -> Retry | Exhausted:
        limit = self.options.reconnect_attempts
        if failure.kind is FailureKind.FORBIDDEN:
            return Exhausted(failure.reason)
        if self.refusals >= self.options.refused_attempts:
            return Exhausted(f"refused {self.refusals} times in a row: {failure.reason}")
        if limit and self.counted > limit:
            return Exhausted(f"gave up after {limit} reconnect attempts: {failure.reason}")
        ceiling = min(
            self.options.reconnect_max_delay_s,
            self.options.reconnect_base_delay_s * 2.0 ** min(self.failures - 1, 60),
        )
        jitter = random * ceiling
        delay = failure.retry_after_s * (1 + random) + jitter if failure.retry_after_s else jitter
        return Retry(delay, self.failures)
