"""What may wait in an outbox: appending by handlers, attempts and ends by the owner, all pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from runtime.models.outbox import OUTBOX_MAX_BYTES, OUTBOX_MAX_MESSAGES, Outbox, OutboxItem
from runtime.models.outcome import Outcome, OutcomeStatus, outcome_of


def refusal(outbox: Outbox, item: OutboxItem) -> str | None:
    """Why an item does not fit, naming the limit; None when it does."""
    if outbox.waiting_messages + len(item.messages) > OUTBOX_MAX_MESSAGES:
        return f"{outbox.waiting_messages} messages wait to be sent; at most {OUTBOX_MAX_MESSAGES} may"
    if outbox.waiting_bytes + item.size_bytes > OUTBOX_MAX_BYTES:
        return f"{outbox.waiting_bytes} bytes wait to be sent; at most {OUTBOX_MAX_BYTES} may"
    return None


def append(outbox: Outbox, item: OutboxItem) -> Outbox:
    """The outbox with one more item at its end."""
    return outbox.model_copy(update={"items": (*outbox.items, item)})


def mark(outbox: Outbox, command_ids: Collection[str], epoch: int) -> Outbox:
    """The outbox with these items marked as attempted under an epoch; done before anything is sent."""
    items = tuple(
        item.model_copy(update={"attempted_epoch": epoch}) if item.command_id in command_ids else item
        for item in outbox.items
    )
    return outbox.model_copy(update={"items": items})


def end_of(item: OutboxItem, connection_id: str, status: OutcomeStatus, reason: str, now: datetime) -> Outcome:
    """The end of one item."""
    return outcome_of(item.command_id, item.command, connection_id, status, reason, now)


def failed(item: OutboxItem, connection_id: str, why: str, now: datetime) -> Outcome:
    """The end of an item that will not be sent (again): unknown if it may have been, rejected if it was not."""
    if item.attempted_epoch is None:
        return end_of(item, connection_id, OutcomeStatus.REJECTED, f"not sent: {why}", now)
    return end_of(item, connection_id, OutcomeStatus.UNKNOWN, f"may have been sent: {why}", now)
