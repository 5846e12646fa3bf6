"""stopPublish: clear the topic, from the next frame received."""

from __future__ import annotations

from handlers.unknown import unknown
from runtime.context import Context
from runtime.judging import Applied, Order, Rejected
from runtime.models.commands import StopPublish
from runtime.models.connection import Aspect, WebSocketConnection
from runtime.models.outcome import Outcome


async def stop_publish(command: StopPublish, order: Order, context: Context) -> Outcome:
    """Clear the topic."""
    return await context.apply(order, Aspect.TOPIC, lambda record: decide(record, order))


def decide(record: WebSocketConnection | None, order: Order) -> Applied | Rejected:
    """The record without a topic."""
    if record is None or record.is_removed:
        return unknown(order)
    return Applied(record.changed(topic=None), "publishing to no topic")
