"""The time in which nobody reads a connection, from its begin until it is announced."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from runtime.host.announcer import Announcer
from runtime.models.connection import WebSocketConnection
from runtime.models.events import GapAnnounced, GapKind
from runtime.ports import Clock


@dataclass(slots=True)
class Blind:
    """`since`: when the gap that is open now began, None where there is none.

    `is_inherited`: it is what an owner before has left, and no socket of this epoch has announced it.
    """

    announcer: Announcer
    clock: Clock
    since: datetime | None
    reason: str = "the owner before is gone"
    is_inherited: bool = False

    def begin(self, since: datetime, reason: str) -> None:
        """Nobody reads from now on."""
        self.since, self.reason = since, reason

    def inherit(self, since: datetime) -> None:
        """An owner before has left this."""
        self.since = since if self.since is None else min(self.since, since)
        self.is_inherited = True

    def announce(self, record: WebSocketConnection, until: datetime | None = None) -> None:
        """It has ended, now or at `until`: a socket is open, or none will be."""
        if self.since is None:
            return
        now = until or self.clock.now()
        gap = GapAnnounced(
            connection_id=record.id,
            epoch=record.epoch,
            kind=GapKind.BLIND,
            reason=self.reason,
            from_time=min(self.since, now),  # the wall clock may have gone back
            to_time=now,
        )
        self.announcer.gap(gap, self.since.timestamp())
        self.since, self.is_inherited = None, False
