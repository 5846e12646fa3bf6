"""Which host should hold what: every host computes it for itself from the leases that it reads, none for all."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import ceil
from zlib import crc32

SLACK = 0.05  # of a fair share: what lies within is not worth a handover


@dataclass(frozen=True, slots=True)
class Share:
    """What a living host holds and may hold."""

    load: int
    max_connections: int

    @property
    def use(self) -> float:
        """From 0, empty, to 1, full."""
        return self.load / self.max_connections if self.max_connections else 1.0


def lightest(shares: Mapping[str, Share]) -> str | None:
    """The host with most room, in proportion to what it may hold; None when all are full."""
    roomy = {id_: share for id_, share in shares.items() if share.load < share.max_connections}
    return min(roomy, key=lambda id_: (roomy[id_].use, id_), default=None)


def excess(instance_id: str, shares: Mapping[str, Share]) -> dict[str, int]:
    """How many connections a host should hand over to which others; empty when it has its fair share.

    All hosts that hold too much deal their excess out in proportion to what the others lack, so that together they
    give nobody more than that, though each decides alone.
    """
    capacity = sum(share.max_connections for share in shares.values())
    if capacity == 0:
        return {}
    total = sum(share.load for share in shares.values())
    fair = {id_: total * share.max_connections / capacity for id_, share in shares.items()}
    mine = shares[instance_id].load - ceil(fair[instance_id])
    if mine <= max(1, SLACK * fair[instance_id]):
        return {}
    lacking = {id_: fair[id_] - share.load for id_, share in shares.items() if share.load < fair[id_]}
    portion = min(1.0, mine / sum(max(0.0, share.load - fair[id_]) for id_, share in shares.items()))
    given = {id_: int(lack * portion + 0.5) for id_, lack in lacking.items()}
    return {id_: count for id_, count in given.items() if count > 0}


def settled(instance_id: str, before: Mapping[str, Share], now: Mapping[str, Share]) -> dict[str, Share]:
    """Shares as a host may act on them: leases are written at different times, and what moves may be in none of them.

    Between two looks each lease is renewed. So another host counts with the more that it had in one of them, since what
    it has given is perhaps not in a lease yet, and this one with the less, since what it has got came perhaps to all.
    """
    return {
        id_: Share((min if id_ == instance_id else max)(share.load, _load(before, id_)), share.max_connections)
        for id_, share in now.items()
    }


def _load(shares: Mapping[str, Share], id_: str) -> int:
    return shares[id_].load if id_ in shares else 0


def is_due_to(instance_id: str, connection_id: str, living: Collection[str]) -> bool:
    """Whether it falls to this host, among the living ones, to look after a connection that nobody holds."""
    return place_of(instance_id, connection_id, living) == 0


def place_of(instance_id: str, connection_id: str, living: Collection[str]) -> int:
    """This host's place among the living ones for a connection that nobody holds: 0, then its deputies from 1 on."""
    ranked = sorted({*living, instance_id})
    return (ranked.index(instance_id) - crc32(connection_id.encode())) % len(ranked)
