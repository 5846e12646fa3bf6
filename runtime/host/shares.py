"""What the other hosts hold, as far as this one knows."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.host.watch import Others
from runtime.placement import Share


@dataclass(slots=True)
class _Given:
    """What was given to a host since its lease has shown this beat: it may not be counted there yet."""

    beat: int
    ids: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Shares:
    """A lease is some seconds old: what this host has given away since it was written is added to its load."""

    others: Others
    _given: dict[str, _Given] = field(default_factory=dict)

    def of_others(self) -> dict[str, Share]:
        """The load of each other living host, and what it may hold."""
        living, before = self.others.living(), self._given
        self._given = {
            id_: before[id_] if id_ in before and before[id_].beat == lease.beat else _Given(lease.beat)
            for id_, lease in living.items()
        }
        return {
            id_: Share(lease.load + len(self._given[id_].ids), lease.max_connections) for id_, lease in living.items()
        }

    def give(self, to: str, connection_id: str) -> None:
        """A living host is about to own this connection."""
        if to in self._given:
            self._given[to].ids.add(connection_id)

    def has_given(self, to: str, connection_id: str) -> bool:
        """Whether it was given this connection just now."""
        return connection_id in self._given[to].ids
