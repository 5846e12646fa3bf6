"""How a command ended, in words that a person can act on."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from runtime.models.wire import UtcTime, WireModel


class OutcomeStatus(StrEnum):
    """The five ends of a command."""

    ACCEPTED = "accepted"
    SUPERSEDED = "superseded"
    REJECTED = "rejected"
    DONE = "done"
    UNKNOWN = "unknown"


class Outcome(WireModel):
    """The end of one command; published on `websocket-events` and kept with the record or outbox."""

    command_id: str
    command: str
    connection_id: str | None = None
    status: OutcomeStatus
    reason: str
    warnings: tuple[str, ...] = ()
    generation: int | None = None
    answer: str | None = None
    answer_content_type: str | None = None
    at: UtcTime

    @property
    def event_id(self) -> str:
        """Derived from the command's, so that a repeat is recognised. A late end of a send has its own."""
        return f"outcome.{self.command_id}.{self.status}"


def outcome_of(
    command_id: str, command: str, connection_id: str | None, status: OutcomeStatus, reason: str, at: datetime
) -> Outcome:
    """Make an outcome without extras."""
    return Outcome(
        command_id=command_id,
        command=command,
        connection_id=connection_id,
        status=status,
        reason=reason,
        at=at,
    )
