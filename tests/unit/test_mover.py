"""When a host gives connections away, by leases that were written at different times."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

from runtime.host.mover import Mover
from runtime.host.shares import Shares
from runtime.host.tools import Tools
from runtime.host.watch import Nobody
from runtime.models.instance import Instance
from tests.unit.cluster import LIMITS
from tests.virtual_time import virtual_time

EPOCH = datetime.fromtimestamp(0, UTC)


class Leases(Nobody):
    """What each look at the leases of the others shows."""

    def __init__(self, *looks: dict[str, int]) -> None:
        self.looks = [*looks]

    def living(self) -> dict[str, Instance]:
        beat, loads = len(self.looks), self.looks.pop(0)
        return {id_: lease(id_, beat, load) for id_, load in loads.items()}


def lease(id_: str, beat: int, load: int) -> Instance:
    return Instance(
        id=id_,
        incarnation=id_,
        started_at=EPOCH,
        read_until=EPOCH,
        beat=beat,
        load=load,
        max_connections=LIMITS.max_connections,
    )


@dataclass
class Held:
    """A connection that can be given away."""

    id: str
    given_to: list[str] = field(default_factory=list)
    is_moving = False

    @property
    def record(self) -> Held:
        return self

    @property
    def can_move(self) -> bool:
        return not self.given_to

    def hand_over(self, to: str, *_: Any) -> None:
        self.given_to.append(to)


async def given(held: int, *looks: dict[str, int]) -> list[int]:
    """How many a host that holds so many has given away after each of these looks."""
    keepers = {str(number): Held(str(number)) for number in range(held)}
    shares = Shares(Leases(*looks))
    mover = Mover("me", cast(Tools, None), LIMITS, cast(Any, keepers), shares, lambda: False)
    counts = []
    for _ in looks:
        await mover.rebalance()
        counts.append(sum(not keeper.can_move for keeper in keepers.values()))
    return counts


@virtual_time
async def test_an_excess_is_given_away_at_the_second_look_that_shows_it():
    assert await given(40, {"other": 0}, {"other": 0}) == [0, 20]


@virtual_time
async def test_nothing_is_given_away_while_another_host_deals_out_what_no_lease_shows_yet():
    """It has just dealt 80 of 100 out, and its own lease says so, but not yet that of the last one it gave to."""
    before = {"dealer": 100, "b": 0, "c": 0, "last": 0}
    after = {"dealer": 20, "b": 20, "c": 20, "last": 3}
    assert await given(20, before, after, {**after, "last": 20}) == [0, 0, 0]
