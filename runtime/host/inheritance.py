"""What a process owes for the one before it under the same id: the gaps of what that one had held when it died."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from runtime.models.connection import WebSocketConnection
from runtime.models.status import ConnectionStatus
from runtime.ownership import Step


@dataclass(slots=True)
class Inheritance:
    """`read_until`: what the lease of the process before said last; None where there was none."""

    read_until: datetime | None = None
    is_known: bool = False
    _unclaimed: set[str] = field(default_factory=set)
    _ended_here: set[str] = field(default_factory=set)

    @property
    def open_since(self) -> datetime | None:
        """What that process said last, as long as some of its records do not say it yet."""
        return None if self.is_known and not self._unclaimed else self.read_until

    def look_at(self, record: WebSocketConnection, step: Step) -> datetime | None:
        """Take in a record that carries this host's id, or none, before all are known.

        Returns since when it may miss something, if it had ended by then and so nobody else will say it.
        """
        if self.is_known or self.read_until is None:
            return None
        if step is not Step.NOTHING and record.status is not ConnectionStatus.DISCONNECTED:
            self._unclaimed.add(record.id)
        elif record.instance_id is None and record.id not in self._ended_here:
            return self.read_until
        return None

    def all_known(self) -> None:
        """Every record was looked at."""
        self.is_known = True
        self._ended_here.clear()

    def owed_for(self, connection_id: str) -> datetime | None:
        """Since when this connection may miss something, if it is one that the process before had held."""
        return self.read_until if connection_id in self._unclaimed else None

    def settle(self, connection_id: str) -> None:
        """Its record says it by now, or somebody else does."""
        self._unclaimed.discard(connection_id)

    def ended(self, connection_id: str) -> None:
        """It was held by this process and has ended: nothing of it is owed."""
        if not self.is_known:
            self._ended_here.add(connection_id)
