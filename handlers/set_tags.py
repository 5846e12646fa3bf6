"""setTags: replace the tags."""

from __future__ import annotations

from handlers.tag_limit import tag_refusal
from handlers.unknown import unknown
from runtime.context import Context
from runtime.judging import Applied, Order, Rejected
from runtime.models.commands import SetTags
from runtime.models.connection import Aspect, WebSocketConnection
from runtime.models.outcome import Outcome, OutcomeStatus


async def set_tags(command: SetTags, order: Order, context: Context) -> Outcome:
    """Write the tags."""
    too_many = await tag_refusal(order.connection_id, command.tags, context)
    if too_many is not None:
        return order.outcome(OutcomeStatus.REJECTED, too_many)
    return await context.apply(order, Aspect.TAGS, lambda record: decide(record, command, order))


def decide(record: WebSocketConnection | None, command: SetTags, order: Order) -> Applied | Rejected:
    """The record with these tags."""
    if record is None or record.is_removed:
        return unknown(order)
    return Applied(record.changed(tags=command.tags), f"{len(command.tags)} tags set")
