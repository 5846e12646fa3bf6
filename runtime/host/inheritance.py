"""What a process owes for the one before it under the same id: the gaps of what that one had held when it died."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from runtime.models.connection import WebSocketConnection
from runtime.ownership import Step


@dataclass(slots=True)
class Inheritance:
    """`read_until`: what the lease of the process before said last; None where there was none."""

    read_until: datetime | None = None
    is_known: bool = False
    _unclaimed: set[str] = field(default_factory=set)

    @property
    def open_since(self) -> datetime | None:
        """What that process said last, as long as some of its records do not say it yet."""
        return None if self.is_known and not self._unclaimed else self.read_until

    def look_at(self, record: WebSocketConnection, step: Step) -> None:
        """Take in a record that carries this host's id, before all are known."""
        if not self.is_known and self.read_until is not None and step is not Step.NOTHING:
            self._unclaimed.add(record.id)

    def all_known(self) -> None:
        """Every record was looked at."""
        self.is_known = True

    def owed_for(self, connection_id: str) -> datetime | None:
        """Since when this connection may miss something, if it is one that the process before may have held."""
        return self.read_until if connection_id in self._unclaimed or not self.is_known else None

    def settle(self, connection_id: str) -> None:
        """Its record says it by now, or somebody else does."""
        self._unclaimed.discard(connection_id)
