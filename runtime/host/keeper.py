"""Keeps one owned connection alive: from claim to release, over all the sockets of one epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field

from runtime import ownership
from runtime.backoff import Backoff
from runtime.errors import OwnershipLostError
from runtime.host.blind import Blind
from runtime.host.courier import Courier
from runtime.host.farewell import Farewell, WayOut
from runtime.host.flag import Flag
from runtime.host.handover import LOOK_EVERY_S, Arrival, Departure, Ending
from runtime.host.interruptible import Interruptible
from runtime.host.life import Life
from runtime.host.queue import FrameQueue
from runtime.host.reporter import Reporter
from runtime.host.tools import Tools
from runtime.models.connection import HeldConnection, WebSocketConnection
from runtime.models.status import ConnectionStatus
from runtime.reconnect import keep_alive

_S = ConnectionStatus


@dataclass(slots=True)
class Keeper:
    """One owned connection. `update` tells it what the record says now; `run` returns when it is let go.

    `term`: of the lease, when the record was read last.
    """

    tools: Tools
    claimed: InitVar[HeldConnection]
    queue: FrameQueue
    term: int
    life: Life = field(init=False)
    courier: Courier = field(init=False)
    reporter: Reporter = field(init=False)
    _arrival: Arrival | None = None
    _has_arrived: Flag = field(default_factory=Flag)
    _departure: Departure | None = None
    _moving: asyncio.Task[None] | None = None
    _group: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    _way_out: WayOut | None = None
    _is_suspended: bool = False
    _lives: Interruptible = field(default_factory=Interruptible)
    _is_changed: bool = False  # so that the generation has to end

    def __post_init__(self, record: HeldConnection) -> None:
        tools = self.tools
        self.reporter = Reporter(tools, record.status)
        self.courier = Courier(tools, record.id, record.epoch, record.options.request_timeout_s, self._may_act)
        is_arriving = record.handover is not None
        since = None if is_arriving else record.read_until
        blind = Blind(tools.announcer, tools.clock, since, is_inherited=since is not None)
        self.life = Life(tools, record, self.queue, self.courier, self.reporter, blind, is_arriving, self._may_exchange)
        if is_arriving:
            self._arrival = Arrival(tools, record, self.update)
            self.queue.hold()
        else:
            self._has_arrived.set()

    @property
    def record(self) -> WebSocketConnection:
        """As it was read last."""
        return self.life.record

    def update(self, record: WebSocketConnection | None, term: int | None = None) -> None:
        """Take in what the record says now. `term`: of the lease, before the record was read."""
        before = self.record
        self.term = self.term if term is None else term
        if self._departure is not None:
            self._departure.observe(record)
            if self._departure.is_taken and record is not None:
                self._follow(record)
                return
        if self._way_out is WayOut.LEFT:
            return
        if record is None or ownership.owner_of(record) != ownership.owner_of(before):
            self.lose()
            return
        if self._arrival is not None:
            self._arrival.observe(record)
        self.life.take(record)
        self.courier.wake()
        if not record.is_wanted or record.generation != before.generation:
            self._change()
        else:
            self.life.publish_to(record.topic)

    def is_outdated_by(self, record: WebSocketConnection) -> bool:
        """Whether a record says something that this keeper does not act on."""
        return ownership.wishes(record) != ownership.wishes(self.record)

    @property
    def is_moving(self) -> bool:
        """Whether the connection is on its way to or from another host."""
        return self._moving is not None or self._arrival is not None

    @property
    def can_move(self) -> bool:
        """Whether another host could take it over without a gap."""
        is_at_rest = self._may_exchange() and not self.life.is_exchanging
        return is_at_rest and self.life.session is not None and self.record.auto_reconnect

    @property
    def could_live_elsewhere(self) -> bool:
        """Whether it has no socket, and another host may dial as well as this one."""
        return not self.is_moving and self.life.session is None and self.record.auto_reconnect

    def lose(self) -> None:
        """Another owns the connection now, or nobody: close, and write nothing."""
        self._go(WayOut.LOST)
        self._has_arrived.set()

    def drain(self) -> None:
        """Close with 1001 and leave the record for the next owner."""
        is_taken = self._departure is not None and self._departure.is_taken
        self.life.farewell = Farewell.STOPPING
        self._go(WayOut.LEFT if is_taken else WayOut.STOPPING)

    def suspend(self) -> None:
        """Close until the lease is held again, and the record was read after that."""
        if self.life.reading is None or self._is_changed:
            return
        self._is_suspended = True
        self.life.farewell = Farewell.CUT  # a handshake could take longer than the lease
        self._change()

    def hand_over(self, to: str, within_s: float, stays: Callable[[], bool]) -> None:
        """Move the connection to another host. `stays`: whether it may come back if that cannot connect."""
        assert self.can_move
        self._departure = Departure(self.tools, self.record, to, within_s, stays, self.update)
        self._moving = self._group.create_task(self._depart(self._departure))

    async def run(self) -> None:
        """Serve generation after generation until nothing is wanted of this owner."""
        self.reporter.begin(self.record)
        try:
            async with self._group as group:
                self.courier.begin(group.create_task)
                arriving = group.create_task(self._arrive(self._arrival)) if self._arrival is not None else None
                await self._serve()
                self._stop_moving()
                self.courier.end()
                if arriving is not None:
                    arriving.cancel()
        finally:
            self.queue.forget_held()  # nothing is held back any more, unless this has failed

    async def _serve(self) -> None:
        while True:
            reason = await self._generation()
            record, blind = self.record, self.life.blind
            if self._way_out is WayOut.LEFT:
                await self._leave()
                return
            if self._way_out is WayOut.LOST:
                self.queue.forget_held()
                return
            if not self._has_arrived.is_set() and (self._way_out is not None or not record.is_wanted):
                await self._has_arrived.wait()  # what the host before has read comes first
                continue
            if self._way_out is WayOut.STOPPING:
                await self._release()
                return
            if reason is not None or not record.is_wanted:
                self._stop_moving()  # or it might take back what ends here
                self.queue.let_go()
                if blind.is_inherited:  # no socket of this epoch has announced it
                    blind.announce(record)
                await self._end(record, reason)
                return
            if self.reporter.status is _S.CONNECTED:
                why = "the lease of its host has run out" if self._is_suspended else "a new dial was asked for"
                self.reporter.enter(record, _S.RECONNECTING, blind.since, why)

    async def _generation(self) -> str | None:
        """Serve one generation. Returns why it has ended, None when a command, a stop or a move has ended it."""
        self._is_changed = False
        if self._way_out is not None or not self.record.is_wanted:
            return None
        self._is_suspended = False
        self.life.farewell = Farewell.ASKED
        self.life.begin_generation()
        backoff, generation = Backoff(self.record.options), self.record.generation
        lives = keep_alive(self._live, backoff=backoff, random=self.tools.random, pause=self.life.pause)
        exhausted = await self._lives.run(lives)
        if exhausted is not None:
            await self._has_arrived.wait()  # the host before may take it back instead
        is_current = generation == self.record.generation  # else a new dial was asked for just then
        return exhausted.reason if exhausted is not None and is_current else None

    async def _live(self) -> None:
        """One socket, as soon as this host may dial. Raises LifeEnded."""
        if not self.record.options.overlap:
            await self._has_arrived.wait()
        while not self._may_act():
            await self.tools.clock.sleep(LOOK_EVERY_S)
        await self.life.run()

    def _may_act(self) -> bool:
        """Whether the lease holds, the record was read since it does, and no other host has the connection."""
        tenure, departure = self.tools.tenure, self._departure
        is_taken = departure is not None and departure.is_taken
        return tenure.is_held() and self.term == tenure.term and not is_taken

    def _may_exchange(self) -> bool:
        return not (self.is_moving or self._is_changed) and self._may_act()

    def _go(self, way_out: WayOut) -> None:
        self._way_out = way_out
        self._change()

    def _change(self) -> None:
        """End the generation."""
        self._is_changed = True
        self._lives.interrupt()

    async def _arrive(self, arrival: Arrival) -> None:
        """Publish what is held back as soon as the host before has published all."""
        try:
            self.life.settle_in(await arrival.run())
        except OwnershipLostError:
            self.lose()
        self._arrival = None
        self._has_arrived.set()

    async def _depart(self, departure: Departure) -> None:
        ending = await departure.run()
        if ending is Ending.LEFT:
            self._part()
            return
        if ending is Ending.LOST:
            self.lose()
        self._departure = self._moving = None
        if departure.taken_back is not None and ending is Ending.TAKEN_BACK:
            before, sequence = self.record, self.life.publisher.sequence
            self.tools.announcer.handed_over(before, sequence, is_complete=self.life.session is not None)
            self.life.go_on(departure.taken_back)
            if departure.taken_back.generation != before.generation or not departure.taken_back.is_wanted:
                self._change()

    def _follow(self, record: WebSocketConnection) -> None:
        """Another host owns it already, and this one still reads."""
        self.courier.disconnected()
        if not record.is_wanted or record.generation != self.record.generation:
            self._part()
        else:
            self.life.publish_to(record.topic)

    def _part(self) -> None:
        self._stop_moving()
        self.life.farewell = Farewell.MOVED
        self._go(WayOut.LEFT)

    async def _release(self) -> None:
        """Publish what was read, and leave the record for the next owner."""
        self._stop_moving()
        record, since = self.record, self.life.blind.since or self.tools.clock.now()
        await self.life.until_published()
        is_released = await self.reporter.release(record, since)
        if not is_released and self._departure is not None:
            await self._departure.look()
            if self._departure.is_taken:  # just now
                await self._leave()
                return
        await self.tools.nudge_all(record.id)

    async def _end(self, record: WebSocketConnection, reason: str | None) -> None:
        is_published = not len(self.queue)
        await self.reporter.end(record, reason, self.courier.fail_all, is_published=is_published)
        if not is_published:
            await self.life.until_published()
            await self.reporter.let_go(record)
            await self.tools.nudge_all(record.id)  # it may be wanted again

    def _stop_moving(self) -> None:
        if self._moving is not None:
            self._moving.cancel()

    async def _leave(self) -> None:
        """Publish what was read, and tell the host that has the connection now."""
        departure, since, sequence = self._departure, self.life.blind.since, self.life.publisher.sequence
        assert departure is not None
        is_complete = departure.was_connected and since is None
        read_until = None if is_complete else since or self.tools.clock.now()
        await self.life.until_published()
        self.tools.announcer.handed_over(self.record, sequence, is_complete=is_complete)
        await departure.finish(sequence, read_until)
