"""What a host does about connections that it does not hold: it ends, purges and tidies up, but dials nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from runtime import ownership
from runtime.errors import GarbageRecordError
from runtime.host.courier import Courier
from runtime.host.tools import Tools
from runtime.models.connection import WebSocketConnection
from runtime.models.events import GapAnnounced, GapKind
from runtime.models.status import ConnectionStatus
from runtime.ownership import Step
from runtime.ports import Limits


@dataclass(slots=True)
class Unheld:
    """Records without a keeper here. `step_of` says what is to be done about one."""

    tools: Tools
    limits: Limits
    step_of: Callable[[WebSocketConnection], Step]
    _orphans: dict[str, float] = field(default_factory=dict)
    _quarantined: dict[str, str] = field(default_factory=dict)
    _checked_outboxes: set[str] = field(default_factory=set)

    def is_unchecked(self, record: WebSocketConnection) -> bool:
        """Whether something may wait in its outbox that will never be sent."""
        return not record.is_wanted and record.id not in self._checked_outboxes

    def check_again(self, connection_id: str) -> None:
        """Its outbox may hold something again."""
        self._checked_outboxes.discard(connection_id)

    def has_found(self, connection_id: str) -> None:
        """There is a record."""
        self._orphans.pop(connection_id, None)

    async def settle(self, connection_id: str, step: Step, read_until: datetime | None) -> None:
        """Disconnected and unowned, where the owner is gone. Raises StoreError, GarbageRecordError.

        `read_until`: what the lease of the owner said last, None where nothing of it is still to be announced.
        """
        reason = "its host was lost (autoReconnect is off)" if step is Step.END else None
        before: WebSocketConnection | None = None
        settled: WebSocketConnection | None = None

        def decide(record: WebSocketConnection | None) -> WebSocketConnection | None:
            nonlocal before, settled
            if record is None or self.step_of(record) is not step:
                return None
            before = record
            settled = ownership.settle(record, self.tools.clock.now(), reason)
            return settled

        stored = await self.tools.records.update(connection_id, decide)
        if settled is None or stored is None or stored.updated_at != settled.updated_at:
            return
        self.tools.announcer.status(settled, settled.status, reason=reason or "by command")
        since = ownership.published_until(before, read_until) if before is not None and read_until is not None else None
        if since is not None:
            self.announce_tail(settled, since)

    async def purge(self, connection_id: str) -> bool:
        """Delete a tombstone and its outbox. Returns whether it is gone. Raises StoreError, GarbageRecordError."""
        if not await self.tools.records.delete(connection_id, lambda record: self.step_of(record) is Step.PURGE):
            return False
        self._checked_outboxes.discard(connection_id)
        await self.tools.records.remove_from_index(connection_id)
        return True

    async def fail_outbox(self, record: WebSocketConnection) -> None:
        """Nothing that waits will be sent. Raises StoreError, GarbageRecordError."""
        await self._courier(record.id).fail_all(record.last_error or "the connection is disconnected")
        self._checked_outboxes.add(record.id)

    async def expire_outbox(self, connection_id: str) -> None:
        """End what has waited too long for an owner. Raises StoreError, GarbageRecordError."""
        await self._courier(connection_id).expire()

    def _courier(self, connection_id: str) -> Courier:
        return Courier(self.tools, connection_id, 0, 0)

    async def drop_orphan(self, connection_id: str) -> None:
        """Take an id without a record out of the index, after a grace period. Raises StoreError."""
        now = self.tools.clock.monotonic()
        if now - self._orphans.setdefault(connection_id, now) >= self.limits.index_grace_s:
            del self._orphans[connection_id]
            await self.tools.records.remove_from_index(connection_id)

    def announce_tail(self, record: WebSocketConnection, published_until: datetime) -> None:
        """The connection had ended, but not all that it had received was published when its process died."""
        ended_at = record.updated_at
        if record.status is ConnectionStatus.DISCONNECTED and ended_at is not None and ended_at > published_until:
            gap = GapAnnounced(
                connection_id=record.id,
                epoch=record.epoch,
                kind=GapKind.BLIND,
                reason="its host died before all was published",
                from_time=published_until,
                to_time=ended_at,
            )
            self.tools.announcer.gap(gap, published_until.timestamp())

    def quarantine(self, connection_id: str, error: GarbageRecordError) -> None:
        """Leave what cannot be read as it is, and say so once."""
        reason = str(error)
        if self._quarantined.get(connection_id) != reason:
            self._quarantined[connection_id] = reason
            self.tools.observer.warn("record_quarantined", id=connection_id, reason=reason)
            self.tools.announcer.notice(f"record quarantined: {reason}", connection_id)
