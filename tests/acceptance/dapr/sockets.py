"""What the peer has seen of sockets: how many it had to each connection at which time."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tests.acceptance.feed import FeedProcess


@dataclass
class Sockets:
    """An account of the feed's sockets, by the connection's id, which is the last part of the path that it dials."""

    feed: FeedProcess
    _changes: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))
    _taken: int = 0

    def open_at(self, id_: str, at: float) -> int:
        """How many were open at a Unix time."""
        changes = self._read()[id_]
        place = bisect_right(changes, at, key=lambda change: change[0])
        return changes[place - 1][1] if place else 0

    def open_now(self) -> Counter[str]:
        """How many are open."""
        return Counter({id_: changes[-1][1] for id_, changes in self._read().items() if changes})

    def opened_since(self, at: float) -> Counter[str]:
        """How often one was opened after a Unix time."""
        return self._count(at, 1)

    def closed_since(self, at: float) -> Counter[str]:
        """How often one was closed after a Unix time, by whom ever."""
        return self._count(at, -1)

    def most_at_once(self, id_: str) -> int:
        """How many were ever open together."""
        return max((count for _, count in self._read()[id_]), default=0)

    def _count(self, at: float, step: int) -> Counter[str]:
        found: Counter[str] = Counter()
        for id_, changes in self._read().items():
            before = 0
            for when, count in changes:
                found[id_] += when > at and count - before == step
                before = count
        return +found

    def _read(self) -> dict[str, list[tuple[float, int]]]:
        lines = self.feed.told("at")
        for line in lines[self._taken :]:
            if "number" in line:
                continue
            changes = self._changes[(line.get("opened") or line["path"]).rpartition("/")[2]]
            changes.append((line["at"], (changes[-1][1] if changes else 0) + (1 if "opened" in line else -1)))
        self._taken = len(lines)
        return self._changes
