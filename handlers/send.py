"""send: append to the outbox of a connection; its owner sends and reports the outcome."""

from __future__ import annotations

from datetime import timedelta

from handlers.unknown import unknown
from runtime.context import Context
from runtime.judging import Order
from runtime.models.commands import Send
from runtime.models.connection import WebSocketConnection
from runtime.models.outbox import Outbox, OutboxItem
from runtime.models.outcome import Outcome, OutcomeStatus
from runtime.outboxes import append, refusal


async def send(command: Send, order: Order, context: Context) -> Outcome:
    """Queue the messages, in order."""
    item = OutboxItem(
        command_id=order.command_id,
        command=order.command,
        messages=command.all_messages(),
        expires_at=order.now + timedelta(seconds=command.ttl_s),
    )
    return await queue(item, order, context)


async def queue(item: OutboxItem, order: Order, context: Context) -> Outcome:
    """Append once: a repeat gets the answer that the first one has, or `accepted` while it waits."""
    outcome = order.outcome(OutcomeStatus.ACCEPTED, "queued; its end follows as another outcome")
    record = await context.records.get(order.connection_id)
    known = (await context.records.outbox(order.connection_id)).outcomes.get(order.command_id)
    if known is not None:
        return known
    if record is None or record.is_removed:
        return order.outcome(OutcomeStatus.REJECTED, unknown(order).reason)
    ended_connection = _refusal_of(record)

    def decide(outbox: Outbox) -> Outbox | None:
        nonlocal outcome
        ended = outbox.outcomes.get(item.command_id)
        if ended is not None or outbox.find(item.command_id):
            outcome = ended or outcome
            return None
        reason = ended_connection or refusal(outbox, item)
        if reason is not None:
            outcome = order.outcome(OutcomeStatus.REJECTED, reason)
            return outbox.settle([outcome])
        return append(outbox, item)

    await context.records.update_outbox(order.connection_id, decide)
    await context.nudge_owner(record)
    return outcome


def _refusal_of(record: WebSocketConnection) -> str | None:
    """Why nothing can be sent; kept in the outbox, so that a repeat hears the same. None when something can."""
    if record.is_wanted:
        return None
    why = f": {record.last_error}" if record.last_error else ""
    return f"the connection is disconnected{why}; reconnect it before sending"
