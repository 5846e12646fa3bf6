"""startPublish: set the topic, from the next frame received."""

from __future__ import annotations

from handlers.unknown import unknown
from runtime.context import Context
from runtime.judging import Applied, Order, Rejected
from runtime.models.commands import StartPublish
from runtime.models.connection import Aspect, WebSocketConnection
from runtime.models.outcome import Outcome, OutcomeStatus


async def start_publish(command: StartPublish, order: Order, context: Context) -> Outcome:
    """Write the topic."""
    if context.names.is_reserved(command.topic):
        return order.outcome(OutcomeStatus.REJECTED, f"topic '{command.topic}' is reserved for the manager itself")
    return await context.apply(order, Aspect.TOPIC, lambda record: decide(record, command, order))


def decide(record: WebSocketConnection | None, command: StartPublish, order: Order) -> Applied | Rejected:
    """The record with this topic."""
    if record is None or record.is_removed:
        return unknown(order)
    return Applied(record.changed(topic=command.topic), f"publishing to {command.topic}")
