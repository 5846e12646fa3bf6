"""drain: have a host hand its connections over and claim no more."""

from __future__ import annotations

from datetime import timedelta

from runtime.context import Context
from runtime.errors import GarbageRecordError
from runtime.judging import Order
from runtime.models.commands import Drain
from runtime.models.constants import DaprConstants, instance_key
from runtime.models.instance import Instance, InstanceList
from runtime.models.outcome import Outcome, OutcomeStatus
from runtime.records import decode


async def drain(command: Drain, order: Order, context: Context) -> Outcome:
    """Write the wish into the list of hosts, at which each of them looks at every heartbeat."""
    id_ = command.instance
    lease = await _lease_of(id_, context)
    if lease is not None and lease.has_ended:
        return order.outcome(OutcomeStatus.ACCEPTED, f"'{id_}' has ended already, and holds nothing")
    if lease is not None and order.issued_at + timedelta(seconds=order.max_skew_s) < lease.started_at:
        reason = f"'{id_}' was started again after this command was issued"
        return order.outcome(OutcomeStatus.SUPERSEDED, reason)
    was_told = False

    def tell(instances: InstanceList | None) -> InstanceList | None:
        nonlocal was_told
        if instances is None or id_ not in instances.ids:
            return None
        was_told = id_ in instances.draining
        return instances.with_draining(id_)

    instances = await context.records.change(DaprConstants.INSTANCES_KEY, InstanceList, tell)
    if instances is None or id_ not in instances.ids:
        return order.outcome(OutcomeStatus.REJECTED, f"no instance '{id_}' is known; `wsm instances` lists them")
    again = " (it was told so before)" if was_told else ""
    return order.outcome(OutcomeStatus.ACCEPTED, f"'{id_}' hands its connections over and claims no more{again}")


async def _lease_of(instance_id: str, context: Context) -> Instance | None:
    """What it says of itself; nothing if that cannot be read."""
    key = instance_key(instance_id)
    stored = await context.records.store.get(key)
    try:
        lease: Instance | None = decode(Instance, key, stored.value) if stored is not None else None
    except GarbageRecordError:
        return None
    return lease
