"""A publisher that fails in every way in which a real one does, and keeps account of what arrives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from random import Random

from runtime.errors import EventRefusedError, PublishError
from runtime.models.events import Event

DEADLINE_S = 30.0  # of a call: what no answer comes to within this time has failed


class Kind(Enum):
    """What becomes of a call."""

    ACCEPTED = "accepted"
    FAILS_AT_ONCE = "fails at once"
    FAILS_HALFWAY = "fails having published some"
    IS_PARTIAL = "fails having published some, and knows of the first ones"
    TIMES_OUT = "times out having published all"
    IS_LATE = "publishes after its timeout"


@dataclass(frozen=True)
class Fault:
    """How one call goes. `after_s`: how long it takes, or how long after its timeout its events arrive."""

    kind: Kind
    after_s: float = 0.0
    seed: int = 0


class FaultyPublisher:
    """Plays a fault for each call, and accepts when there are no more.

    A bulk call fans out: its events arrive spread over the call and in any order, unless it `keeps_order`; then some
    of its first ones arrive, in order. What `refuses` says something of never arrives, but what stands behind it in
    the call may. `arrived` are all events as they came, repeats among them. `call_s`: what a call takes otherwise.
    """

    def __init__(
        self,
        faults: Sequence[Fault] = (),
        *,
        keeps_order: bool = False,
        lanes: int = 1,
        call_s: float = 0.0,
        refuses: Callable[[Event], str | None] = lambda event: None,
    ) -> None:
        self.keeps_order, self.lanes, self.refuses = keeps_order, lanes, refuses
        self.faults, self.call_s = list(faults), call_s
        self.calls: list[list[Event]] = []
        self.arrived: list[Event] = []
        self.in_flight: list[set[str]] = []  # the connections of each call
        self.most_in_flight = 0

    async def publish_many(self, events: Sequence[Event]) -> None:
        subjects = {event.subject for event in events}
        assert not subjects & set().union(*self.in_flight), "a connection is in two calls at a time"
        self.calls.append(list(events))
        self.in_flight.append(subjects)
        self.most_in_flight = max(len(self.in_flight), self.most_in_flight)
        try:
            await self._play(self.faults.pop(0) if self.faults else self._no_fault(), list(events))
        finally:
            self.in_flight.remove(subjects)

    def _no_fault(self) -> Fault:
        return Fault(Kind.ACCEPTED, self.call_s, len(self.calls))

    async def _play(self, fault: Fault, events: list[Event]) -> None:
        chance = Random(fault.seed)
        spread = self._spread(events, chance)
        match fault.kind:
            case Kind.FAILS_AT_ONCE:
                raise PublishError("away")
            case Kind.FAILS_HALFWAY:
                await self._arrive(self._some(spread, chance), fault.after_s)
                raise PublishError("cut off")
            case Kind.IS_PARTIAL:
                count = chance.randint(0, self._leading(events))
                others = self._some(self._spread(events[count:], chance), chance)
                await self._arrive(self._spread(events[:count] + others, chance), fault.after_s)
                raise PublishError("some arrived", published=count)
            case Kind.TIMES_OUT:
                await self._arrive(spread, DEADLINE_S)
                raise PublishError("deadline exceeded")
            case Kind.IS_LATE:
                asyncio.get_running_loop().call_later(DEADLINE_S + fault.after_s, self.arrived.extend, spread)
                await asyncio.sleep(DEADLINE_S)
                raise PublishError("deadline exceeded")
            case Kind.ACCEPTED:
                await self._accept(events, spread, chance, fault.after_s)

    async def _accept(self, events: list[Event], spread: list[Event], chance: Random, within_s: float) -> None:
        index = self._leading(events)
        if index == len(events):
            await self._arrive(spread, within_s)
            return
        behind = [event for event in events[index + 1 :] if self.refuses(event) is None]
        arriving = [*events[:index], *self._some(self._spread(behind, chance), chance)]
        await self._arrive(self._spread(arriving, chance), within_s)
        raise EventRefusedError(self.refuses(events[index]) or "", index=index)

    async def _arrive(self, events: list[Event], within_s: float) -> None:
        for event in events:
            await asyncio.sleep(within_s / len(events))
            self.arrived.append(event)
        if not events:
            await asyncio.sleep(within_s)

    def _spread(self, events: list[Event], chance: Random) -> list[Event]:
        """What would arrive of these, in the order in which it does."""
        taken = [event for event in events if self.refuses(event) is None]
        if not self.keeps_order:
            chance.shuffle(taken)
        return taken

    def _some(self, spread: list[Event], chance: Random) -> list[Event]:
        return spread[: chance.randint(0, len(spread))]

    def _leading(self, events: list[Event]) -> int:
        """How many come before the first that is refused."""
        return next((index for index, event in enumerate(events) if self.refuses(event) is not None), len(events))
