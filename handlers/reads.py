"""The reads: connections, connection, instances, outcome. URLs are masked unless the whole record is asked for."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from runtime.context import Context
from runtime.errors import GarbageRecordError, NotFoundError
from runtime.models.connection import Status, WebSocketConnection
from runtime.models.constants import DaprConstants, instance_key, vitals_key
from runtime.models.instance import Instance, InstanceList
from runtime.models.vitals import VitalsPage
from runtime.models.wire import WireModel, format_time
from runtime.ports import Stored, Vitals
from runtime.records import decode
from runtime.urls import mask_url


class ConnectionsQuery(WireModel):
    """Filters; all that are given must hold. `full`: whole URLs and options, for an export."""

    tag: dict[str, str] | None = None
    status: Status | None = None
    owner: str | None = None
    full: bool = False


class ConnectionQuery(WireModel):
    """One connection."""

    id: str


class InstancesQuery(WireModel):
    """All hosts."""


class OutcomeQuery(WireModel):
    """How a command ended."""

    command_id: str
    id: str


async def read_connections(query: ConnectionsQuery, context: Context) -> list[dict[str, Any]]:
    """Every connection that fits, by id."""
    views, vitals_of = [], await context.vitals()
    async for id_, record in context.records.get_many(sorted(await context.records.ids())):
        if isinstance(record, GarbageRecordError):
            views.append({"id": id_, "status": None, "lastError": str(record)})
        elif record is not None and not record.is_removed and _fits(record, query):
            views.append(_view(record, vitals_of(record), full=query.full))
    return views


async def read_connection(query: ConnectionQuery, context: Context) -> dict[str, Any]:
    """One connection with its options and last outcomes."""
    record = await context.records.get(query.id)
    if record is None or record.is_removed:
        raise NotFoundError(f"no connection '{query.id}' is known")
    outbox = await context.records.outbox(query.id)
    vitals = (await context.vitals())(record)
    return _view(record, vitals) | {
        "options": record.options.masked().to_wire(),
        "outcomes": [outcome.to_wire() for outcome in record.outcomes.values()],
        "waitingToBeSent": outbox.waiting_messages,
        "sequence": vitals.sequence if vitals is not None else None,
        "framesWithoutTopic": vitals.unpublished if vitals is not None else None,
        "framesFiltered": vitals.filtered if vitals is not None else None,
        "waitsUntil": format_time(vitals.waits_until) if vitals is not None and vitals.waits_until else None,
        "waitsFor": vitals.waits_for if vitals is not None else None,
    }


async def read_instances(query: InstancesQuery, context: Context) -> list[dict[str, Any]]:
    """Every host that has written a lease, as far as that can be read."""
    store = context.records.store
    stored = await store.get(DaprConstants.INSTANCES_KEY)
    listed = decode(InstanceList, DaprConstants.INSTANCES_KEY, stored.value) if stored else InstanceList()
    found = await store.get_many([instance_key(id_) for id_ in listed.ids])
    pages = await store.get_many([vitals_key(id_) for id_ in listed.ids])
    views = []
    for id_ in listed.ids:
        with suppress(GarbageRecordError, KeyError):
            lease: Instance = decode(Instance, instance_key(id_), found[instance_key(id_)].value)
            notes = _notes(pages.get(vitals_key(id_)))
            views.append(_host_view(lease, context, is_told=id_ in listed.draining) | {"notes": notes})
    return views


async def read_outcome(query: OutcomeQuery, context: Context) -> dict[str, Any]:
    """The end of a command, as far as the record or the outbox still remembers it."""
    outbox = await context.records.outbox(query.id)
    record = await context.records.get(query.id)
    outcome = outbox.outcomes.get(query.command_id) or (record.outcomes.get(query.command_id) if record else None)
    if outcome is None:
        waiting = "it waits to be sent" if outbox.find(query.command_id) else "it is not known here"
        raise NotFoundError(f"no outcome of command '{query.command_id}': {waiting}")
    return outcome.to_wire()


def _notes(stored: Stored | None) -> dict[str, Any]:
    """What a host says of itself beside its lease; it only informs."""
    with suppress(GarbageRecordError):
        return dict(decode(VitalsPage, "", stored.value).notes) if stored is not None else {}
    return {}


def _host_view(lease: Instance, context: Context, *, is_told: bool) -> dict[str, Any]:
    """A lease with its age by its own clock and ours, which only informs."""
    age_s = (context.clock.now() - (lease.beat_at or lease.started_at)).total_seconds()
    if lease.has_ended:
        state = "ended"
    elif age_s > context.limits.lease_s:
        state = "silent"
    else:
        state = "draining" if lease.is_draining or is_told else "running"
    return lease.to_wire() | {"state": state, "beatAgeS": max(0.0, round(age_s, 1))}


def _fits(record: WebSocketConnection, query: ConnectionsQuery) -> bool:
    return (
        (query.status is None or record.status is query.status)
        and (query.owner is None or record.instance_id == query.owner)
        and all(record.tags.get(key) == value for key, value in (query.tag or {}).items())
    )


def _view(record: WebSocketConnection, vitals: Vitals | None, *, full: bool = False) -> dict[str, Any]:
    last = vitals.last_frame_at if vitals is not None else None
    view: dict[str, Any] = {
        "id": record.id,
        "url": record.url if full else mask_url(record.url),
        "status": record.status.label,
        "topic": record.topic,
        "autoReconnect": record.auto_reconnect,
        "tags": record.tags,
        "instanceId": record.instance_id,
        "epoch": record.epoch,
        "generation": record.generation,
        "endedGeneration": record.ended_generation,
        "desired": record.desired,
        "lastError": record.last_error,
        "createdAt": format_time(record.created_at),
        "updatedAt": format_time(record.updated_at) if record.updated_at else None,
        "lastFrameAt": format_time(last) if last else None,
        "queuedMessages": vitals.queued_messages if vitals is not None else None,
        "queuedBytes": vitals.queued_bytes if vitals is not None else None,
    }
    return view | {"options": record.options.to_wire()} if full else view
