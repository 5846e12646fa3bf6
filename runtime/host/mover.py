"""Moves connections to other hosts: all of them when this host drains, what exceeds its fair share otherwise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from runtime import placement
from runtime.host.keeper import Keeper
from runtime.host.shares import Shares
from runtime.host.tools import Tools
from runtime.placement import Share
from runtime.ports import Limits

LOOK_EVERY_S = 0.1
SHORTEST_S = 2.0  # what begins later does not end in time, and would leave a gap
TRIES = 3  # of a connection in one evacuation: the first host that was asked may die, or not be able to connect


@dataclass(slots=True)
class Mover:
    """Hands over a bounded number at a time, each to a host that has room."""

    instance_id: str
    tools: Tools
    limits: Limits
    keepers: Mapping[str, Keeper]
    shares: Shares
    is_draining: Callable[[], bool]
    _seen: Mapping[str, Share] = field(default_factory=dict)

    async def run(self) -> None:
        """Rebalance again and again, until cancelled; each time the leases must tell first what the last one did."""
        while True:
            await self.tools.clock.sleep(2 * self.limits.heartbeat_interval_s)
            if self.limits.rebalances and not self.is_draining():
                await self.rebalance()

    async def rebalance(self) -> None:
        """Hand over what exceeded the fair share at this look, and at the last one."""
        own = Share(len(self.keepers), self.limits.max_connections)
        before, self._seen = self._seen, self.shares.of_others() | {self.instance_id: own}
        wanted = placement.excess(self.instance_id, placement.settled(self.instance_id, before, self._seen))
        for to, count in wanted.items():
            movable = [keeper for keeper in self.keepers.values() if keeper.can_move]
            for keeper in movable[:count]:
                await self._until_there_is_room()
                if self.is_draining():
                    return
                if keeper.can_move:
                    self._hand_over(keeper, to, self.limits.handover_s)
        await self._until_nothing_moves()

    async def evacuate(self, within_s: float) -> None:
        """Hand over all that can be; return when nothing more can be, or the time is over."""
        clock = self.tools.clock
        deadline = clock.monotonic() + within_s
        tries: Counter[str] = Counter()
        if not self.shares.of_others():
            return
        while (left_s := deadline - clock.monotonic()) > 0:
            ready = [id_ for id_, keeper in self.keepers.items() if keeper.can_move and tries[id_] < TRIES]
            for id_ in ready[: self._room()]:
                to = placement.lightest(self.shares.of_others())
                if to is None or left_s < SHORTEST_S:
                    ready.clear()
                    break
                tries[id_] += 1
                self._hand_over(self.keepers[id_], to, min(self.limits.handover_s, left_s))
            if not ready and not self._moving():
                return
            await clock.sleep(LOOK_EVERY_S)

    def _hand_over(self, keeper: Keeper, to: str, within_s: float) -> None:
        self.shares.give(to, keeper.record.id)
        keeper.hand_over(to, within_s, lambda: not self.is_draining())

    def _moving(self) -> int:
        return sum(keeper.is_moving for keeper in self.keepers.values())

    def _room(self) -> int:
        return max(0, self.limits.max_handshakes - self._moving())

    async def _until_there_is_room(self) -> None:
        while not self._room():
            await self.tools.clock.sleep(LOOK_EVERY_S)

    async def _until_nothing_moves(self) -> None:
        while self._moving():
            await self.tools.clock.sleep(LOOK_EVERY_S)
