"""Deals new connections out among the hosts, by what they hold."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.host.room import Room
from runtime.host.shares import Shares
from runtime.placement import Share, excess, lightest


@dataclass(slots=True)
class Assignment:
    """Tells who should claim."""

    instance_id: str
    room: Room
    shares: Shares

    def pass_on(self, connection_id: str, *, is_full: bool) -> str | None:
        """The host that is to claim it instead of this one; None when this one should, or nobody has room.

        Without `is_full` only if this host would hold clearly more than its share: what rebalancing would take from
        it again.
        """
        shares = self.shares.of_others()
        if not is_full:
            shares[self.instance_id] = Share(self.room.load + 1, self.room.limit)
            if not excess(self.instance_id, shares):
                return None
        to = lightest(shares)
        if to is None or to == self.instance_id or self.shares.has_given(to, connection_id):
            return None  # in the last case it has come back: that one was full
        self.shares.give(to, connection_id)
        return to
