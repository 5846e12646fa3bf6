"""connect: make a connection, or confirm the one that is there."""

from __future__ import annotations

from runtime.context import Context
from runtime.judging import Applied, Order, Rejected
from runtime.models.commands import Connect
from runtime.models.connection import Aspect, Desired, WebSocketConnection
from runtime.models.outcome import Outcome, OutcomeStatus


async def connect(command: Connect, order: Order, context: Context) -> Outcome:
    """Put the id into the index, write the record, and look at the index again."""
    if command.topic is not None and context.names.is_reserved(command.topic):
        return order.outcome(OutcomeStatus.REJECTED, f"topic '{command.topic}' is reserved for the manager itself")
    await context.records.add_to_index(order.connection_id)
    outcome = await context.apply(order, Aspect.LIFE, lambda record: decide(record, command, order))
    await context.records.add_to_index(order.connection_id)
    return outcome


def decide(record: WebSocketConnection | None, command: Connect, order: Order) -> Applied | Rejected:
    """New, revived, confirmed, replaced or refused."""
    if record is None:
        fresh = WebSocketConnection.create(order.connection_id, order.now)
        return Applied(_wanting(fresh, command, order), "created")
    if record.is_removed:
        revived = record.changed(created_at=order.now, last_error=None)
        return Applied(_wanting(revived, command, order), "created again")
    differing = _differences(record, command)
    if differing and not command.replace:
        what = ", ".join(differing)
        return Rejected(f"the connection exists with another {what}; say replace: true to change it")
    if differing:
        return Applied(_wanting(record, command, order), f"replaced {', '.join(differing)}")
    if record.is_wanted:
        return Applied(record, "unchanged")
    return Applied(_wanting(record, command, order), "connected again")


def _wanting(record: WebSocketConnection, command: Connect, order: Order) -> WebSocketConnection:
    return record.changed(
        url=command.url,
        topic=command.topic,
        auto_reconnect=command.auto_reconnect,
        tags=command.tags,
        options=command.options,
        desired=Desired.CONNECTED,
        generation=record.generation + 1,
        applied={**record.applied, Aspect.TOPIC: order.issued_at, Aspect.TAGS: order.issued_at},
    )


def _differences(record: WebSocketConnection, command: Connect) -> list[str]:
    return [
        name
        for name, same in {
            "url": record.url == command.url,
            "topic": command.topic is None or record.topic == command.topic,
            "autoReconnect": record.auto_reconnect == command.auto_reconnect,
            "options": record.options == command.options,
            "tags": not command.tags or record.tags == command.tags,
        }.items()
        if not same
    ]
