"""The socket host: makes the sockets of this process agree with the records."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from runtime import ownership
from runtime.errors import GarbageRecordError, StoreError
from runtime.host.agenda import Agenda
from runtime.host.assignment import Assignment
from runtime.host.budget import Budget
from runtime.host.claims import Claims
from runtime.host.inheritance import Inheritance
from runtime.host.keeper import Keeper
from runtime.host.mover import Mover
from runtime.host.publisher import Lanes
from runtime.host.queue import FrameQueue
from runtime.host.queues import Queues
from runtime.host.room import Room
from runtime.host.shares import Shares
from runtime.host.tools import Tools
from runtime.host.unheld import Unheld
from runtime.host.watch import Others
from runtime.models.connection import HeldConnection, WebSocketConnection
from runtime.ownership import Step
from runtime.ports import Limits, Vitals

WORKERS = 8
MOVING_PART = 0.6  # of the time for an orderly stop; the rest is for closing what could not be moved
MAX_WAITING = 100  # for room, looked at again and again; what is beyond is found by the sweep


@dataclass(slots=True)
class Host:
    """Owns connections: what nobody owns, what it owned in an earlier life, and what a dead host has left."""

    instance_id: str
    tools: Tools
    lanes: Lanes
    limits: Limits
    others: Others
    keepers: dict[str, Keeper] = field(default_factory=dict)
    inheritance: Inheritance = field(default_factory=Inheritance)
    agenda: Agenda = field(default_factory=Agenda)
    frames_of_ended: int = 0
    filtered_of_ended: int = 0
    is_draining: bool = False
    unheld: Unheld = field(init=False)
    mover: Mover = field(init=False)
    _queues: Queues = field(init=False)
    _room: Room = field(init=False)
    _assignment: Assignment = field(init=False)
    _claims: Claims = field(init=False)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _told_to_drain: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        shares = Shares(self.others)
        self.mover = Mover(self.instance_id, self.tools, self.limits, self.keepers, shares, lambda: self.is_draining)
        self.unheld = Unheld(self.tools, self.limits, self.step)
        self._queues = Queues(self.lanes, self.tools.announcer, Budget(self.limits.queues_max_bytes))
        self._room = Room(self.instance_id, self.tools, self.limits.max_connections, lambda: len(self.keepers))
        self._assignment = Assignment(self.instance_id, self._room, shares)
        self._claims = Claims(self.instance_id, self.tools, self.inheritance, self.step, self.read_until)

    def nudge(self, connection_id: str) -> None:
        """Look at this record soon."""
        self.agenda.add(connection_id)

    def assign(self, connection_id: str) -> None:
        """Look at this record soon, which nobody owned: if it is to be claimed, another host may be a better owner."""
        self.agenda.add(connection_id, is_for_any=True)

    async def run(self) -> None:
        """Follow nudges until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_drained())
            group.create_task(self.tools.dials.run())
            for _ in range(WORKERS):
                group.create_task(self._work())

    def step(self, record: WebSocketConnection) -> Step:
        """What this host has to do about a record without a keeper here."""
        return ownership.next_step(
            record,
            self.instance_id,
            is_gone=self.others.is_gone,
            now=self.tools.clock.now(),
            tombstone_ttl_s=self.limits.tombstone_ttl_s,
        )

    def all_looked_at(self) -> None:
        """Every record was looked at since the start: what the process before this one has left is known."""
        self.inheritance.all_known()
        self._queues.forget_empty(self.keepers)

    def heed_lease(self) -> None:
        """Read again what was read before the lease was lost; under strict fencing, hold no socket without one."""
        is_held, term = self.tools.tenure.is_held(), self.tools.tenure.term
        for connection_id, keeper in self.keepers.items():
            if is_held and keeper.term != term:
                self.nudge(connection_id)
            elif not is_held and self.limits.is_strict:
                keeper.suspend()

    def begin_drain(self) -> None:
        """Claim no more, and hand everything over; the process goes on."""
        if not self._told_to_drain.is_set():
            self.tools.observer.log("draining", instance=self.instance_id)
        self.is_draining = True
        self._told_to_drain.set()

    async def _keep_drained(self) -> None:
        await self._told_to_drain.wait()
        while True:
            await self.mover.evacuate(2 * self.limits.handover_s)
            is_alone = not self.others.living()
            for keeper in list(self.keepers.values()):
                if is_alone or keeper.could_live_elsewhere:
                    keeper.drain()
            await self.tools.clock.sleep(self.limits.heartbeat_interval_s)

    async def close(self) -> None:
        """Claim no more, hand over what other hosts can take, close the rest with 1001 and leave the records."""
        self.is_draining = True
        await self.mover.evacuate(MOVING_PART * self.limits.drain_deadline_s)
        for keeper in list(self.keepers.values()):
            keeper.drain()
        while self._tasks or self.agenda.is_at_work:  # a claim may be on its way to the store
            if self._tasks:
                await asyncio.wait(list(self._tasks.values()))
                await asyncio.sleep(0)  # let them be taken off the list
            else:
                await self.agenda.wait_until_idle()

    async def abandon(self) -> None:
        """Cut what `close` could not close in time."""
        self.is_draining = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def flush(self) -> None:
        """Return when all that was read is published."""
        await self._queues.flush()

    def read_until(self) -> datetime:
        """The time up to which everything that was received is published, or announced as missing.

        Until all is claimed that the process before this one had held, what that one said last still counts: its
        records do not say it yet.
        """
        now, owed_since = self.tools.clock.now(), self.inheritance.open_since
        inherited = None if owed_since is None else owed_since.timestamp()
        open_since = [self._queues.oldest(), self.tools.announcer.oldest_since, inherited]
        oldest = min((since for since in open_since if since is not None), default=now.timestamp())
        return min(datetime.fromtimestamp(oldest, now.tzinfo), now)

    def vitals(self, connection_id: str) -> Vitals | None:
        """What is known of a connection of this host, None of any other."""
        keeper = self.keepers.get(connection_id)
        return keeper.life.vitals() if keeper is not None else None

    def queues(self) -> Iterable[FrameQueue]:
        """Those of its connections, and of those let go of which something is not published yet."""
        return self._queues

    async def _work(self) -> None:
        while True:
            async with self.agenda.next() as (connection_id, is_for_any):
                try:
                    term = self.tools.tenure.term
                    record = await self.tools.records.get(connection_id)
                    await self._agree(connection_id, record, term, is_for_any=is_for_any)
                except GarbageRecordError as error:
                    self.unheld.quarantine(connection_id, error)
                except StoreError as error:
                    self.tools.observer.warn("reconcile_failed", id=connection_id, reason=str(error))
                    self.unheld.check_again(connection_id)
                    self.agenda.add_later(connection_id)

    async def _agree(
        self, connection_id: str, record: WebSocketConnection | None, term: int, *, is_for_any: bool
    ) -> None:
        """Make the socket agree with a record that was just read."""
        keeper = self.keepers.get(connection_id)
        if keeper is not None:
            keeper.update(record, term)
            return
        if record is None:
            self.inheritance.settle(connection_id)
            return
        if not self.tools.tenure.is_held():  # others may take this host for dead
            self.agenda.add_later(connection_id)
            return
        step = self.step(record)
        if step is Step.CLAIM:
            await self._claim(record, term, is_for_any=is_for_any)
            return
        if step in {Step.END, Step.RELEASE} and record.instance_id not in {None, self.instance_id}:
            await self.others.look_again(record.instance_id or "")
            step = self.step(record)
        if step in {Step.END, Step.RELEASE}:
            await self.unheld.settle(connection_id, step, self._claims.last_word(record))
        if step is Step.PURGE:
            if await self.unheld.purge(connection_id):
                self._queues.forget(connection_id)
        elif not record.is_wanted or step is Step.END:
            await self.unheld.fail_outbox(record)
        self.inheritance.settle(connection_id)

    async def _claim(self, record: WebSocketConnection, term: int, *, is_for_any: bool) -> None:
        is_full = self.is_draining or self._room.is_full()
        if (is_full or is_for_any) and self._claims.is_for_any(record):
            better = self._assignment.pass_on(record.id, is_full=is_full)
            if better is not None:
                self.inheritance.settle(record.id)
                await self.tools.nudge(better, record.id)
                return
        if self.is_draining:
            return
        if is_full:
            self._room.tell_full()
            self.agenda.add_later(record.id, at_most=MAX_WAITING)
            await self.unheld.expire_outbox(record.id)
            return
        with self._room.taken():
            claimed = await self._claims.claim(record.id)
            if claimed is None:
                self.nudge(record.id)  # something else is to be done by now
                return
            self.inheritance.settle(record.id)
            self._start(claimed, term)

    def _start(self, record: WebSocketConnection, term: int) -> None:
        connection_id, held = record.id, HeldConnection.of(record)
        keeper = Keeper(self.tools, held, self._queues.of(held), term)
        if self.is_draining:  # the drain has begun while the claim was on its way
            keeper.drain()
        self.keepers[connection_id] = keeper
        self.unheld.check_again(connection_id)
        task = asyncio.create_task(keeper.run(), name=f"keeper {connection_id}")
        self._tasks[connection_id] = task
        task.add_done_callback(lambda done: self._ended(connection_id, done))

    def _ended(self, connection_id: str, task: asyncio.Task[None]) -> None:
        if (keeper := self.keepers.pop(connection_id, None)) is not None:
            self.frames_of_ended += keeper.life.frames_received
            self.filtered_of_ended += keeper.life.frames_filtered
        self._tasks.pop(connection_id, None)
        self._queues.forget_if_empty(connection_id)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.tools.observer.warn("keeper_failed", id=connection_id, error=repr(error))
            self.agenda.add_later(connection_id)
        elif not self.is_draining:
            self.nudge(connection_id)  # a command may have come while the last write was on its way
