"""What a sweep concludes from a record: nothing is decided on it, since it may be old by the time its turn comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from runtime.errors import GarbageRecordError
from runtime.host.host import Host
from runtime.host.keeper import Keeper
from runtime.host.patience import Patience
from runtime.models.connection import WebSocketConnection
from runtime.models.status import ConnectionStatus
from runtime.ownership import Step

LEASES_PATIENT = 2
Found: TypeAlias = WebSocketConnection | GarbageRecordError | None


@dataclass(slots=True)
class Inspector:
    """Nudges its host where record and sockets disagree, and for what another host has left undone for long.

    `place`: of this host for the record; 0 is that of the one whose task it is. `pass_s`: how long a pass takes.
    """

    host: Host
    is_alone: bool
    pass_s: float = 0.0
    _patience: Patience = field(default_factory=Patience)

    async def inspect(self, connection_id: str, record: Found, place: int) -> str:
        """Look at what was read. Returns what it is, for counting. Raises StoreError, GarbageRecordError."""
        host = self.host
        if isinstance(record, GarbageRecordError):
            if place == 0:
                host.unheld.quarantine(connection_id, record)
            return "quarantined"
        if record is None:
            if place == 0:
                await host.unheld.drop_orphan(connection_id)
            return "orphans"
        host.unheld.has_found(connection_id)
        if connection_id in host.keepers:
            self._look_at_kept(host.keepers[connection_id], record)
            return "kept"
        step = host.step(record)
        self._inherit(record, step)
        if step is not Step.NOTHING:
            self._urge(record, place)
        elif record.status is ConnectionStatus.CONNECTING and place == 0:  # its owner may not know that it is
            self._note(record, record.options.connect_timeout_s)
        else:
            self._patience.forget(connection_id)
            if host.unheld.is_unchecked(record) and place == 0:
                host.nudge(connection_id)
        return str(step)

    def _look_at_kept(self, keeper: Keeper, record: WebSocketConnection) -> None:
        keeper.courier.wake()  # the nudge of a send may be lost
        if keeper.is_outdated_by(record):
            self.host.nudge(record.id)
        elif record.status is not keeper.reporter.status:  # another service may have written one of its own
            keeper.reporter.repeat(record)

    async def see_to_overdue(self) -> None:
        """Look again at what nobody has seen to for long. Raises StoreError."""
        host = self.host
        overdue = self._patience.take_overdue(host.tools.clock.monotonic())
        async for connection_id, record in host.tools.records.get_many(overdue):
            if not isinstance(record, WebSocketConnection) or _seen(record) != overdue[connection_id]:
                continue
            if host.step(record) is not Step.NOTHING:
                host.nudge(connection_id)
            elif record.instance_id is not None:
                await host.tools.nudge(record.instance_id, connection_id)

    def _urge(self, record: WebSocketConnection, place: int) -> None:
        is_ours = record.instance_id == self.host.instance_id
        is_offered = record.handover is not None and record.handover.to == self.host.instance_id
        if place == 0 or is_ours or is_offered:
            self.host.nudge(record.id)
        else:
            self._note(record, self.pass_s, place)

    def _note(self, record: WebSocketConnection, seconds: float, place: int = 1) -> None:
        """One deputy after the other, so that they are no stampede."""
        patience_s = place * (LEASES_PATIENT * self.host.limits.lease_s + seconds)
        self._patience.note(record.id, _seen(record), self.host.tools.clock.monotonic() + patience_s)

    def _inherit(self, record: WebSocketConnection, step: Step) -> None:
        owner = record.instance_id
        if owner is not None and (self.is_alone or owner == self.host.instance_id):
            self.host.inheritance.look_at(record, step)


def _seen(record: WebSocketConnection) -> object:
    return (record.instance_id, record.epoch, record.generation, record.status)
