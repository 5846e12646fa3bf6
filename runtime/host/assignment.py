"""Deals new connections out among the hosts, by what their leases say that they hold."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.host.room import Room
from runtime.host.watch import Others
from runtime.placement import Share, excess, lightest


@dataclass(slots=True)
class _Passed:
    """What was passed on to a host since its lease has shown this beat: it may not be counted there yet."""

    beat: int
    ids: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Assignment:
    """Tells who should claim. A lease is some seconds old: what was passed on since then is added to its load."""

    instance_id: str
    room: Room
    others: Others
    _passed: dict[str, _Passed] = field(default_factory=dict)

    def pass_on(self, connection_id: str, *, is_full: bool) -> str | None:
        """The host that is to claim it instead of this one; None when this one should, or nobody has room.

        Without `is_full` only if this host would hold clearly more than its share: what rebalancing would take from
        it again.
        """
        shares = self._shares_of_others()
        if not is_full:
            shares[self.instance_id] = Share(self.room.load + 1, self.room.limit)
            if not excess(self.instance_id, shares):
                return None
        to = lightest(shares)
        if to is None or to == self.instance_id:
            return None
        passed = self._passed[to].ids
        if connection_id in passed:  # it has come back, so that one was full
            return None
        passed.add(connection_id)
        return to

    def _shares_of_others(self) -> dict[str, Share]:
        living, before = self.others.living(), self._passed
        self._passed = {
            id_: before[id_] if id_ in before and before[id_].beat == lease.beat else _Passed(lease.beat)
            for id_, lease in living.items()
        }
        return {
            id_: Share(lease.load + len(self._passed[id_].ids), lease.max_connections) for id_, lease in living.items()
        }
