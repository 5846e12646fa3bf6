"""request: send a message and wait for the correlated answer; the owner does both and reports the outcome."""

from __future__ import annotations

from datetime import timedelta

from handlers.send import queue
from runtime.context import Context
from runtime.correlation import lacks_value
from runtime.judging import Order
from runtime.models.commands import Request
from runtime.models.outbox import OutboxItem
from runtime.models.outcome import Outcome, OutcomeStatus


async def request(command: Request, order: Order, context: Context) -> Outcome:
    """Queue the message with what its answer looks like."""
    if command.reply_topic is not None and context.names.is_reserved(command.reply_topic):
        reason = f"replyTopic '{command.reply_topic}' is reserved for the manager itself"
        return order.outcome(OutcomeStatus.REJECTED, reason)
    if lacks_value(command.match, command.message.content()):
        reason = f"match.pointer: the message has no value at {command.match.pointer}; say what it equals in the answer"
        return order.outcome(OutcomeStatus.REJECTED, reason)
    item = OutboxItem(
        command_id=order.command_id,
        command=order.command,
        messages=(command.message,),
        expires_at=order.now + timedelta(seconds=command.ttl_s),
        match=command.match,
        reply_topic=command.reply_topic,
        timeout_s=command.timeout_s,
    )
    return await queue(item, order, context)
