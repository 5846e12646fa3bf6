"""reconnect: close and dial again; revives what has ended."""

from __future__ import annotations

from handlers.unknown import unknown
from runtime.context import Context
from runtime.judging import Applied, Order, Rejected
from runtime.models.commands import Reconnect
from runtime.models.connection import Aspect, Desired, WebSocketConnection
from runtime.models.outcome import Outcome


async def reconnect(command: Reconnect, order: Order, context: Context) -> Outcome:
    """Ask for a new generation."""
    return await context.apply(order, Aspect.LIFE, lambda record: decide(record, order))


def decide(record: WebSocketConnection | None, order: Order) -> Applied | Rejected:
    """A new generation of a known connection."""
    if record is None or record.is_removed:
        return unknown(order)
    return Applied(record.changed(desired=Desired.CONNECTED, generation=record.generation + 1), "dialling again")
