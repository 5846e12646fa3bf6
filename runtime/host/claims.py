"""Becoming the owner of a connection, and what its new epoch has to announce."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from runtime import ownership
from runtime.host.inheritance import Inheritance
from runtime.host.tools import Tools
from runtime.models.connection import WebSocketConnection
from runtime.ownership import Step


@dataclass(frozen=True, slots=True)
class Claims:
    """The claims of one host. `step_of` says what it has to do about a record."""

    instance_id: str
    tools: Tools
    inheritance: Inheritance
    step_of: Callable[[WebSocketConnection], Step]
    read_until: Callable[[], datetime]

    async def claim(self, connection_id: str) -> WebSocketConnection | None:
        """Own it under the next epoch; None when it is not to be claimed by now. Raises StoreError.

        What is known of leases is older than the record: a host that is gone by it may have begun anew since, and own
        the record for that. So its lease is read again after the record, and the claim holds for what was read before.
        """
        claimed: WebSocketConnection | None = None
        doubted: tuple[str, int] | None = None
        clock, sure_of = self.tools.clock, None

        def decide(record: WebSocketConnection | None) -> WebSocketConnection | None:
            nonlocal claimed, doubted
            if claimed is not None and record is not None and ownership.owner_of(record) == ownership.owner_of(claimed):
                return None  # written, though we were not told so
            claimed = doubted = None
            if record is None or self.step_of(record) is not Step.CLAIM:
                return None
            owner = record.instance_id or ""
            from_living = not self._is_ours(record) and not self.tools.others.is_gone(owner)
            if not (self._is_ours(record) or from_living or (owner, record.epoch) == sure_of):
                doubted = owner, record.epoch
                return None
            claimed = ownership.claim(
                record, self.instance_id, clock.now(), self.last_word(record), from_living=from_living
            )
            return claimed

        stored = await self.tools.records.update(connection_id, decide)
        if doubted is not None:
            await self.tools.others.look_again(doubted[0])
            sure_of = doubted
            stored = await self.tools.records.update(connection_id, decide)
        return stored if claimed is not None else None

    def is_for_any(self, record: WebSocketConnection) -> bool:
        """Whether any host may claim it, of those that may claim it at all."""
        owner, handover = record.instance_id, record.handover
        if owner == self.instance_id:
            return False
        return owner is None or self.tools.others.is_gone(owner) or (handover is not None and handover.to is None)

    def _is_ours(self, record: WebSocketConnection) -> bool:
        return record.instance_id in {None, self.instance_id}

    def last_word(self, record: WebSocketConnection) -> datetime | None:
        """Up to when its owner, dead by now, had published what it read: all, where it has let go of the record."""
        if record.instance_id == self.instance_id:
            return self.inheritance.owed_for(record.id) or self.read_until()
        return self.tools.others.last_word_of(record.instance_id) if record.instance_id is not None else None
