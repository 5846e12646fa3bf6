"""The socket host: makes the sockets of this process agree with the records."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from runtime import ownership
from runtime.errors import GarbageRecordError, StoreError
from runtime.host.keeper import Keeper
from runtime.host.publisher import Lanes
from runtime.host.queue import FrameQueue
from runtime.host.room import Room
from runtime.host.tools import Tools
from runtime.host.unheld import Unheld
from runtime.host.watch import Others
from runtime.models.connection import WebSocketConnection
from runtime.models.status import ConnectionStatus
from runtime.ownership import Step
from runtime.ports import Limits, Vitals

WORKERS = 8


@dataclass(slots=True)
class Host:
    """Owns connections: what nobody owns, what it owned in an earlier life, and what a dead host has left."""

    instance_id: str
    tools: Tools
    lanes: Lanes
    limits: Limits
    others: Others
    predecessors_read_until: datetime | None = None
    keepers: dict[str, Keeper] = field(default_factory=dict)
    frames_of_ended: int = 0
    is_draining: bool = False
    _queues: dict[str, FrameQueue] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _pending: dict[str, None] = field(default_factory=dict)
    _active: set[str] = field(default_factory=set)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _unclaimed: set[str] = field(default_factory=set)
    _signal: asyncio.Event = field(default_factory=asyncio.Event)
    _unheld: Unheld = field(init=False)
    _room: Room = field(init=False)
    _has_swept: bool = False
    _ended_here: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._unheld = Unheld(self.tools, self.limits, self._step)
        self._room = Room(self.instance_id, self.tools, self.limits.max_connections, lambda: len(self.keepers))

    def nudge(self, connection_id: str) -> None:
        """Look at this record soon."""
        self._pending[connection_id] = None
        self._signal.set()

    async def run(self) -> None:
        """Follow nudges until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def sweep(self) -> Mapping[str, int]:
        """Look at every record and nudge where record and socket disagree. Raises StoreError.

        What is read here may be old by the time its turn comes: whatever has to be done is decided again on a fresh
        read. Returns how many records were found in which state.
        """
        counts: Counter[str] = Counter()
        records = self.tools.records
        async for connection_id, record in records.get_many(await records.ids()):
            counts[await self._inspect(connection_id, record)] += 1
        self._has_swept = True
        for connection_id in [id_ for id_, queue in self._queues.items() if id_ not in self.keepers and not len(queue)]:
            del self._queues[connection_id]
        return counts

    async def _inspect(self, connection_id: str, record: WebSocketConnection | GarbageRecordError | None) -> str:
        if isinstance(record, GarbageRecordError):
            self._unheld.quarantine(connection_id, record)
            return "quarantined"
        if record is None:
            await self._unheld.drop_orphan(connection_id)
            return "orphans"
        self._unheld.forget_orphan(connection_id)
        keeper = self.keepers.get(connection_id)
        if keeper is not None:
            keeper.courier.wake()  # the nudge of a send may be lost
            if keeper.is_outdated_by(record):
                self.nudge(connection_id)
            return "kept"
        step = self._step(record)
        if not self._has_swept:
            self._inherit(record, step)
        if step is not Step.NOTHING or self._unheld.is_unchecked(record):
            self.nudge(connection_id)
        return str(step)

    def _inherit(self, record: WebSocketConnection, step: Step) -> None:
        """Take over what the process before this one owed: the gaps of what it had held, or had just let go."""
        if self.predecessors_read_until is None:
            return
        if step is not Step.NOTHING and record.status is not ConnectionStatus.DISCONNECTED:
            self._unclaimed.add(record.id)
        elif record.instance_id is None and record.id not in self._ended_here:
            self._unheld.announce_tail(record, self.predecessors_read_until)

    async def close(self) -> None:
        """Close every socket with 1001, claim no more, leave the records for the next owner."""
        self.is_draining = True
        for keeper in list(self.keepers.values()):
            keeper.drain()
        while self._tasks or self._active:  # a claim may be on its way to the store
            if self._tasks:
                await asyncio.wait(list(self._tasks.values()))
                await asyncio.sleep(0)  # let them be taken off the list
            else:
                self._idle.clear()
                await self._idle.wait()

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
        for queue in list(self._queues.values()):
            await queue.wait_until_empty()

    def read_until(self) -> datetime:
        """The time up to which everything that was received is published, or announced as missing.

        Until all is claimed that the process before this one had held, what that one said last still counts: its
        records do not say it yet.
        """
        now = self.tools.clock.now()
        open_since = [queue.oldest_received for queue in self._queues.values()] + [self.tools.announcer.oldest_since]
        has_inherited = self._has_swept and not self._unclaimed
        if self.predecessors_read_until is not None and not has_inherited:
            open_since.append(self.predecessors_read_until.timestamp())
        oldest = min((since for since in open_since if since is not None), default=now.timestamp())
        return min(datetime.fromtimestamp(oldest, now.tzinfo), now)

    def vitals(self, connection_id: str) -> Vitals | None:
        """What is known of a connection of this host, None of any other."""
        keeper = self.keepers.get(connection_id)
        return keeper.vitals() if keeper is not None else None

    def queues(self) -> Iterable[FrameQueue]:
        """Those of its connections, and of those let go of which something is not published yet."""
        return self._queues.values()

    async def _work(self) -> None:
        while True:
            connection_id = next((id_ for id_ in self._pending if id_ not in self._active), None)
            if connection_id is None:
                self._signal.clear()
                await self._signal.wait()
                continue
            del self._pending[connection_id]
            self._active.add(connection_id)
            try:
                record = await self.tools.records.get(connection_id)
                await self._agree(connection_id, record)
            except GarbageRecordError as error:
                self._unheld.quarantine(connection_id, error)
            except StoreError as error:
                self.tools.observer.warn("reconcile_failed", id=connection_id, reason=str(error))
                self._unheld.check_again(connection_id)  # so that the next sweep looks again
            finally:
                self._active.discard(connection_id)
                self._idle.set()
                if self._pending:
                    self._signal.set()

    async def _agree(self, connection_id: str, record: WebSocketConnection | None) -> None:
        """Make the socket agree with a record that was just read."""
        keeper = self.keepers.get(connection_id)
        if keeper is not None:
            keeper.update(record)
            return
        if record is None:
            self._unclaimed.discard(connection_id)
            return
        step = self._step(record)
        if step is Step.CLAIM:
            await self._claim(connection_id)
            return
        if step in {Step.END, Step.RELEASE}:
            is_inherited = connection_id in self._unclaimed
            await self._unheld.settle(connection_id, step, self.predecessors_read_until if is_inherited else None)
        if step is Step.PURGE:
            if await self._unheld.purge(connection_id):
                self._queues.pop(connection_id, None)
        elif not record.is_wanted or step is Step.END:
            await self._unheld.fail_outbox(record)
        self._unclaimed.discard(connection_id)

    async def _claim(self, connection_id: str) -> None:
        if self.is_draining:
            return
        if self._room.is_full():
            await self._unheld.expire_outbox(connection_id)
            return
        with self._room.taken():
            await self._become_owner(connection_id)

    async def _become_owner(self, connection_id: str) -> None:
        claimed: WebSocketConnection | None = None
        clock = self.tools.clock

        def decide(record: WebSocketConnection | None) -> WebSocketConnection | None:
            nonlocal claimed
            claimed = None
            if record is None or self._step(record) is not Step.CLAIM:
                return None
            from_living = not self._is_mine(record) and not self.others.is_gone(record.instance_id or "")
            claimed = ownership.claim(
                record, self.instance_id, clock.now(), self._last_word(record), from_living=from_living
            )
            return claimed

        stored = await self.tools.records.update(connection_id, decide)
        if claimed is None or stored is None:
            self.nudge(connection_id)  # something else is to be done by now
            return
        self._unclaimed.discard(connection_id)
        self._start(stored)

    def _is_mine(self, record: WebSocketConnection) -> bool:
        return record.instance_id in {None, self.instance_id}

    def _last_word(self, record: WebSocketConnection) -> datetime | None:
        """Up to when its owner, dead by now, had published what it read."""
        return (
            self.predecessors_read_until
            if self._is_mine(record)
            else self.others.last_word_of(record.instance_id or "")
        )

    def _step(self, record: WebSocketConnection) -> Step:
        return ownership.next_step(
            record,
            self.instance_id,
            is_gone=self.others.is_gone,
            now=self.tools.clock.now(),
            tombstone_ttl_s=self.limits.tombstone_ttl_s,
        )

    def _start(self, record: WebSocketConnection) -> None:
        queue = self._queues.get(record.id) or self._new_queue(record)
        keeper = Keeper(self.tools, record, queue)
        if self.is_draining:  # the drain has begun while the claim was on its way
            keeper.drain()
        self.keepers[record.id] = keeper
        self._unheld.check_again(record.id)
        task = asyncio.create_task(keeper.run(), name=f"keeper {record.id}")
        self._tasks[record.id] = task
        task.add_done_callback(lambda done: self._ended(record.id, done))

    def _new_queue(self, record: WebSocketConnection) -> FrameQueue:
        options = record.options
        announcer = self.tools.announcer
        queue = self._queues[record.id] = FrameQueue(
            record.id,
            options.queue_max_messages,
            options.queue_max_bytes,
            options.overflow,
            self.lanes.lane_of(record.id).on_ready,
            lambda dropped, reason: announcer.dropped(record.id, dropped, reason),
        )
        return queue

    def _ended(self, connection_id: str, task: asyncio.Task[None]) -> None:
        if (keeper := self.keepers.pop(connection_id, None)) is not None:
            self.frames_of_ended += keeper.frames_received
        if not self._has_swept:
            self._ended_here.add(connection_id)
        self._tasks.pop(connection_id, None)
        if not len(self._queues[connection_id]):
            del self._queues[connection_id]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.tools.observer.warn("keeper_failed", id=connection_id, error=repr(error))  # the sweep claims again
        elif not self.is_draining:
            self.nudge(connection_id)  # a command may have come while the last write was on its way
