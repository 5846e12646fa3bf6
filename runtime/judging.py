"""Order and repeats: whether a command is applied, superseded, or has been answered before."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from runtime.models.connection import Aspect, WebSocketConnection
from runtime.models.outcome import Outcome, OutcomeStatus


@dataclass(frozen=True, slots=True)
class Order:
    """A command's identity and its place in time: what every handler needs besides the command itself.

    `issued_at` is clamped: further ahead than the permitted skew counts as the time of arrival. `connection_id` is
    empty for a command that is about none.
    """

    command_id: str
    command: str
    connection_id: str
    issued_at: datetime
    now: datetime
    max_skew_s: float
    warnings: tuple[str, ...] = ()

    def is_older_than(self, record: WebSocketConnection, aspect: Aspect) -> bool:
        """Whether a command that was issued later was applied on this aspect.

        None is applied as if issued later than the permitted skew from now: a time beyond that was written before
        our clock went back, and would lock the connection until the clock is there again.
        """
        last = record.applied.get(aspect)
        return last is not None and self.issued_at < last <= self.now + timedelta(seconds=self.max_skew_s)

    def outcome(self, status: OutcomeStatus, reason: str, generation: int | None = None) -> Outcome:
        """An outcome of this command."""
        return Outcome(
            command_id=self.command_id,
            command=self.command,
            connection_id=self.connection_id or None,
            status=status,
            reason=reason,
            warnings=self.warnings,
            generation=generation,
            at=self.now,
        )


def place_in_time(issued_at: datetime | None, now: datetime, max_skew_s: float) -> datetime:
    """The time that orders a command; a publisher with a wrong clock cannot lock a connection."""
    if issued_at is None or issued_at - now > timedelta(seconds=max_skew_s):
        return now
    return issued_at


@dataclass(frozen=True, slots=True)
class Rejected:
    """The command does not fit the record: why, and what to do."""

    reason: str


@dataclass(frozen=True, slots=True)
class Applied:
    """The record after the command (the same object when nothing had to change), and what was done."""

    record: WebSocketConnection
    reason: str


Decide = Callable[[WebSocketConnection | None], Applied | Rejected]


@dataclass(slots=True)
class Judge:
    """Applies one command to whatever record is found, as often as the compare-and-set asks.

    A command that was answered before gets the same answer again; one that is older than the last applied on the
    same aspect is superseded; what a record's owner decided is remembered in the record itself.
    """

    order: Order
    aspect: Aspect
    decide: Decide
    outcome: Outcome | None = None

    def __call__(self, record: WebSocketConnection | None) -> WebSocketConnection | None:
        known = record.outcomes.get(self.order.command_id) if record else None
        if known is not None:
            self.outcome = known
            return None
        if record is not None and self.order.is_older_than(record, self.aspect):
            self.outcome = self.order.outcome(
                OutcomeStatus.SUPERSEDED,
                "a newer command on the same aspect was applied before",
                record.generation,
            )
            return None
        verdict = self.decide(record)
        if isinstance(verdict, Rejected):
            self.outcome = self.order.outcome(OutcomeStatus.REJECTED, verdict.reason)
            return record.keeping(self.outcome) if record is not None else None
        changed = verdict.record.at(self.aspect, self.order.issued_at)
        self.outcome = self.order.outcome(OutcomeStatus.ACCEPTED, verdict.reason, changed.generation)
        return changed.keeping(self.outcome)
