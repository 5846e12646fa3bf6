"""The lease of a host process."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from runtime.models.constants import ID
from runtime.models.wire import UtcTime, WireModel


def _possible(ids: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(id_ for id_ in ids if re.match(ID, id_))


Ids = Annotated[tuple[str, ...], AfterValidator(_possible)]
"""Ids of hosts; what cannot be one is left out, since one of them would make every read of leases fail."""


class Instance(WireModel):
    """The key `websocket.instance.<id>`, rewritten at every heartbeat.

    `load` and `maxConnections`: connections that it holds and may hold. `isDraining`: it claims no more. `hasEnded`:
    it has stopped in order, and its records may be claimed at once. `beatAt` informs people: nobody else's clock is
    compared with it. `readUntil` is the time up to which everything that the host had received was published: what a
    successor announces as the begin of its blind gap.
    """

    id: str
    incarnation: str
    beat: int = 0
    load: int = 0
    max_connections: int = 0
    is_draining: bool = False
    has_ended: bool = False
    version: str = ""
    started_at: UtcTime
    beat_at: UtcTime | None = None
    read_until: UtcTime


class InstanceList(WireModel):
    """The key `websocket.instances`: all that have a lease, and those of them that were told to drain."""

    ids: Ids = ()
    draining: Ids = ()

    def with_fresh(self, instance_id: str) -> InstanceList:
        """A host that has just started: listed, and not told anything yet."""
        is_listed = instance_id in self.ids
        ids = self.ids if is_listed else (*self.ids, instance_id)
        return self.model_copy(update={"ids": ids, "draining": _without(self.draining, instance_id)})

    def with_draining(self, instance_id: str) -> InstanceList:
        """A host that is told to drain."""
        is_told = instance_id in self.draining
        return self if is_told else self.model_copy(update={"draining": (*self.draining, instance_id)})

    def without(self, instance_id: str) -> InstanceList:
        """A host that is forgotten."""
        update = {"ids": _without(self.ids, instance_id), "draining": _without(self.draining, instance_id)}
        return self.model_copy(update=update)


def _without(ids: tuple[str, ...], instance_id: str) -> tuple[str, ...]:
    return tuple(id_ for id_ in ids if id_ != instance_id)
