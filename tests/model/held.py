"""A connection that a host of the model holds: what `Keeper` does, with a boolean for the socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

from runtime.errors import OwnershipLostError
from runtime.host.farewell import WayOut
from runtime.host.handover import LOOK_EVERY_S, Arrival, Departure, Ending
from runtime.host.reporter import Reporter
from runtime.host.tools import Tools
from runtime.models.connection import WebSocketConnection
from runtime.models.status import ConnectionStatus
from tests.model.account import Account
from tests.model.processes import Process

_S = ConnectionStatus


class Silent:
    """Announcer, observer and courier: says nothing to anybody."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_args, **_fields: None


@dataclass(slots=True)
class Peers:
    """The other ends. `refusing`: so many dials of a connection fail; `refuses_for_good`: the next one does."""

    refusing: dict[str, int] = field(default_factory=dict)
    refuses_for_good: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class World:
    """What a process of the model works in."""

    process: Process
    account: Account
    peers: Peers
    random: Random
    spawn: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    is_draining: Callable[[], bool]


@dataclass(slots=True, eq=False)
class Held:
    """`term`: of the lease, before the record was read last."""

    world: World
    tools: Tools
    record: WebSocketConnection
    term: int
    courier: Any = field(default_factory=Silent)
    is_open: bool = False
    reporter: Reporter = field(init=False)
    _way_out: WayOut | None = None
    _departure: Departure | None = None
    _moving: asyncio.Task[None] | None = None
    _arrival: Arrival | None = None
    _is_asked: bool = False
    _stirred: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        record, world = self.record, self.world
        self.reporter = Reporter(self.tools, record.status)
        world.account.holds(world.process, record.id, record.epoch)
        if record.handover is not None:
            self._arrival = Arrival(self.tools, record, self.update)
            world.spawn(self._arrive(self._arrival))

    def is_outdated_by(self, record: WebSocketConnection) -> bool:
        return _wishes(record) != _wishes(self.record)

    def update(self, record: WebSocketConnection | None, term: int | None = None) -> None:
        """Take in what the record says now."""
        before = self.record
        self.term = self.term if term is None else term
        self._stirred.set()
        if self._departure is not None:
            self._departure.observe(record)
            if self._departure.is_taken and record is not None:
                if not record.is_wanted or record.generation != before.generation:
                    self._go(WayOut.LEFT)
                return
        if self._way_out is WayOut.LEFT:
            return
        if record is None or (record.instance_id, record.epoch) != (before.instance_id, before.epoch):
            self._go(WayOut.LOST)
            return
        if self._arrival is not None:
            self._arrival.observe(record)
        self._is_asked = self._is_asked or record.generation != before.generation
        self.record = record

    @property
    def can_move(self) -> bool:
        is_settled = self._departure is None and self._arrival is None and self._way_out is None
        return is_settled and self.is_open and self.record.auto_reconnect

    def hand_over(self, to: str, within_s: float) -> None:
        self._departure = Departure(
            self.tools, self.record, to, within_s, lambda: not self.world.is_draining(), self.update
        )
        self._moving = self.world.spawn(self._depart(self._departure))

    def drain(self) -> None:
        """Close, and leave the record for the next owner."""
        is_taken = self._departure is not None and self._departure.is_taken
        self._go(WayOut.LEFT if is_taken else WayOut.STOPPING)

    def suspend(self) -> None:
        """Close until the lease is held again."""
        self._close()
        self._stirred.set()

    def lose_socket(self) -> None:
        """The peer has cut it."""
        self._close()
        self._stirred.set()

    async def run(self) -> None:
        """Dial, and dial again, until it is let go; then write what the way out asks for."""
        reason = await self._serve()
        self._close()
        if self._moving is not None:
            self._moving.cancel()  # what has ended is not taken back
        record, now = self.record, self.world.process.now()
        if self._way_out is WayOut.LEFT and self._departure is not None:
            await self._departure.finish(1, None if self._departure.was_connected else now)
        elif self._way_out is WayOut.STOPPING:
            await self.reporter.release(record, now)
            await self.tools.nudge_all(record.id)
        elif self._way_out is None:
            await self.reporter.end(record, reason, _no_outbox, is_published=True)
        self.tools.writer.forget(record.id)

    async def _serve(self) -> str | None:
        while self._way_out is None and self.record.is_wanted:
            self._stirred.clear()
            if self._is_asked:
                self._is_asked = False
                self._close()
            if self.is_open:
                await self._stirred.wait()
                await self.world.process.stand()
            elif self.reporter.status is _S.CONNECTED:
                self.reporter.enter(self.record, _S.RECONNECTING, self.world.process.now(), "lost")
                await self.world.process.sleep(self.world.random.random())
            elif not self._may_dial():
                await self.world.process.sleep(LOOK_EVERY_S)
            elif (refusal := await self._dial()) is not None:
                return refusal
        return None

    def _may_dial(self) -> bool:
        """Whether the lease holds, the record was read since it does, and no other host has the connection."""
        tenure, departure = self.tools.tenure, self._departure
        is_taken = departure is not None and departure.is_taken
        return tenure.is_held() and self.term == tenure.term and not is_taken

    async def _dial(self) -> str | None:
        """One dial; the reason when it is refused for good."""
        record, peers, world = self.record, self.world.peers, self.world
        if record.id in peers.refuses_for_good:
            peers.refuses_for_good.discard(record.id)
            return "refused for good"
        if peers.refusing.get(record.id, 0) > 0:
            peers.refusing[record.id] -= 1
            if not record.auto_reconnect:
                return "refused"
            self.reporter.enter(record, _S.RECONNECTING, None, "refused")
            await world.process.sleep(1)
            return None
        self.is_open = True
        world.account.dials(world.process, record.id, record.epoch, record.generation)
        self.reporter.enter(record, _S.CONNECTED, None)
        return None

    def _close(self) -> None:
        if self.is_open:
            self.is_open = False
            self.world.account.closes(self.world.process, self.record.id)

    def _go(self, way_out: WayOut) -> None:
        self._way_out = way_out
        self._stirred.set()

    async def _arrive(self, arrival: Arrival) -> None:
        try:
            await arrival.run()
        except OwnershipLostError:
            self._go(WayOut.LOST)
        self._arrival = None

    async def _depart(self, departure: Departure) -> None:
        ending = await departure.run()
        if ending is Ending.LEFT:
            self._go(WayOut.LEFT)
            return
        self._departure = None
        if ending is Ending.LOST:
            self._go(WayOut.LOST)
        elif ending is Ending.TAKEN_BACK and departure.taken_back is not None:
            before, self.record = self.record, departure.taken_back
            self._is_asked = self.record.generation != before.generation
            self.world.account.holds(self.world.process, self.record.id, self.record.epoch)
            self.world.account.goes_on(self.world.process, self.record.id, self.record.epoch)
            self.reporter.go_on(self.record, None)
        self._stirred.set()


async def _no_outbox(_reason: str) -> None:
    """There is none."""


def _wishes(record: WebSocketConnection) -> tuple[object, ...]:
    return (record.instance_id, record.epoch, record.generation, record.desired)
