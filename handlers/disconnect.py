"""disconnect: close and remove, or keep the record as Disconnected."""

from __future__ import annotations

from runtime.context import Context
from runtime.judging import Applied, Order, Rejected
from runtime.models.commands import Disconnect
from runtime.models.connection import Aspect, Desired, WebSocketConnection
from runtime.models.options import WebSocketOptions
from runtime.models.outcome import Outcome


async def disconnect(command: Disconnect, order: Order, context: Context) -> Outcome:
    """Write the wish; of an unknown id a tombstone remains, so that a late connect does not undo it.

    As at a connect the index is looked at again: the tombstone before may just have been purged.
    """
    await context.records.add_to_index(order.connection_id)
    outcome = await context.apply(order, Aspect.LIFE, lambda record: decide(record, command, order))
    await context.records.add_to_index(order.connection_id)
    return outcome


def decide(record: WebSocketConnection | None, command: Disconnect, order: Order) -> Applied | Rejected:
    """Kept, or turned into a tombstone: id, epoch, generation, times and outcomes stay, the URL goes."""
    if record is None:
        fresh = WebSocketConnection.create(order.connection_id, order.now)
        return Applied(fresh.changed(desired=Desired.REMOVED), "the id was unknown; nothing to close")
    if record.is_removed:
        return Applied(record, "was removed before")
    if command.keep:
        return Applied(record.changed(desired=Desired.DISCONNECTED), "disconnected, record kept")
    tombstone = record.changed(
        desired=Desired.REMOVED,
        url="",
        topic=None,
        tags={},
        options=WebSocketOptions(),
        last_error=None,
        applied={},  # the time of this command is added to it; what topic and tags had belongs to the life that ends
    )
    return Applied(tombstone, "disconnected and removed")
