"""connect: make a connection, or confirm the one that is there."""

from __future__ import annotations

from handlers.tag_limit import tag_refusal
from runtime.context import Context
from runtime.judging import Applied, Order, Rejected
from runtime.models.commands import Connect
from runtime.models.connection import Aspect, Desired, WebSocketConnection
from runtime.models.outcome import Outcome, OutcomeStatus
from runtime.urls import parse_url

_NEEDS_DIAL = frozenset({"url", "options"})  # all else holds for the socket that is open


async def connect(command: Connect, order: Order, context: Context) -> Outcome:
    """Put the id into the index, write the record, and look at the index again."""
    if command.topic is not None and context.names.is_reserved(command.topic):
        return order.outcome(OutcomeStatus.REJECTED, f"topic '{command.topic}' is reserved for the manager itself")
    for endpoint in (parse_url(command.url), *command.options.endpoints()):
        verdict = context.guard.judge_host(endpoint)
        if verdict is not None and verdict.refusal is not None:  # a name's addresses are judged at each dial
            return order.outcome(OutcomeStatus.REJECTED, verdict.refusal)
    too_much = context.limits.options.refusal(command.options)
    too_much = too_much or await tag_refusal(order.connection_id, command.tags, context)
    if too_much is not None:
        return order.outcome(OutcomeStatus.REJECTED, too_much)
    await context.records.add_to_index(order.connection_id)
    outcome = await context.apply(order, Aspect.LIFE, lambda record: decide(record, command, order))
    await context.records.add_to_index(order.connection_id)
    return outcome


def decide(record: WebSocketConnection | None, command: Connect, order: Order) -> Applied | Rejected:
    """New, revived, confirmed, replaced or refused."""
    if record is None:
        fresh = _without_past(WebSocketConnection.create(order.connection_id, order.now), order)
        return Applied(_redialled(_as_asked(fresh, command, order)), "created")
    if record.is_removed:
        revived = _without_past(record.changed(created_at=order.now, last_error=None), order)
        return Applied(_redialled(_as_asked(revived, command, order)), "created again")
    differing = _differences(record, command)
    if differing and not command.replace:
        what = ", ".join(differing)
        return Rejected(f"the connection exists with another {what}; say replace: true to change it")
    if differing:
        asked = _as_asked(record, command, order)
        needs_dial = not record.is_wanted or not _NEEDS_DIAL.isdisjoint(differing)
        return Applied(_redialled(asked) if needs_dial else asked, f"replaced {', '.join(differing)}")
    if record.is_wanted:
        return Applied(record, "unchanged")
    return Applied(_redialled(_as_asked(record, command, order)), "connected again")


def _without_past(record: WebSocketConnection, order: Order) -> WebSocketConnection:
    """A life that begins now: late commands on its topic or tags were meant for another."""
    return record.at(Aspect.TOPIC, order.issued_at).at(Aspect.TAGS, order.issued_at)


def _as_asked(record: WebSocketConnection, command: Connect, order: Order) -> WebSocketConnection:
    """The record as a connect wants it; a topic or tags that it does not name stay as they are."""
    asked = record.changed(url=command.url, auto_reconnect=command.auto_reconnect, options=command.options)
    if command.topic is not None and not order.is_older_than(asked, Aspect.TOPIC):
        asked = asked.at(Aspect.TOPIC, order.issued_at).changed(topic=command.topic)
    if command.tags and not order.is_older_than(asked, Aspect.TAGS):
        asked = asked.at(Aspect.TAGS, order.issued_at).changed(tags=command.tags)
    return asked


def _redialled(record: WebSocketConnection) -> WebSocketConnection:
    return record.changed(desired=Desired.CONNECTED, generation=record.generation + 1)


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
