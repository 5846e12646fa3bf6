"""The socket host: makes the sockets of this process agree with the records."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from runtime import ownership
from runtime.errors import GarbageRecordError, StoreError
from runtime.host.courier import Courier
from runtime.host.keeper import Keeper
from runtime.host.publisher import Lanes
from runtime.host.queue import FrameQueue
from runtime.host.tools import Tools
from runtime.models.connection import WebSocketConnection
from runtime.ownership import Step
from runtime.ports import Limits, Vitals

WORKERS = 8


@dataclass(slots=True)
class Host:
    """Owns connections. `is_claimable` tells whether a record's owner is nobody, dead, or this host before."""

    instance_id: str
    tools: Tools
    lanes: Lanes
    limits: Limits
    is_claimable: Callable[[WebSocketConnection], bool]
    predecessors_read_until: datetime | None = None
    keepers: dict[str, Keeper] = field(default_factory=dict)
    is_draining: bool = False
    _queues: dict[str, FrameQueue] = field(default_factory=dict)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _pending: dict[str, None] = field(default_factory=dict)
    _active: set[str] = field(default_factory=set)
    _signal: asyncio.Event = field(default_factory=asyncio.Event)
    _orphans: dict[str, float] = field(default_factory=dict)
    _quarantined: set[str] = field(default_factory=set)
    _checked_outboxes: set[str] = field(default_factory=set)
    _was_full: bool = False
    _has_swept: bool = False
    _has_inherited: bool = False

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
            self._quarantine(connection_id, record)
            return "quarantined"
        if record is None:
            await self._drop_orphan(connection_id)
            return "orphans"
        self._orphans.pop(connection_id, None)
        keeper = self.keepers.get(connection_id)
        if keeper is not None:
            keeper.courier.wake()  # the nudge of a send may be lost
            if keeper.is_outdated_by(record):
                self.nudge(connection_id)
            return "kept"
        step = self._step(record)
        if step is not Step.NOTHING or (not record.is_wanted and connection_id not in self._checked_outboxes):
            self.nudge(connection_id)
        return str(step)

    async def drain(self) -> None:
        """Close every socket with 1001, publish what was read, leave the records for the next owner."""
        await self.close()
        await self.flush()

    async def close(self) -> None:
        """Close every socket with 1001, claim no more, leave the records for the next owner."""
        self.is_draining = True
        for keeper in list(self.keepers.values()):
            keeper.drain()
        tasks = list(self._tasks.values())
        if tasks:
            await asyncio.wait(tasks)

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
        await self.tools.announcer.queue.wait_until_empty()

    def read_until(self) -> datetime:
        """The time up to which everything that was received is published, or announced as missing.

        Until all is claimed that the process before this one had held, what that one said last still counts: its
        records do not say it yet.
        """
        now = self.tools.clock.now()
        open_since = [queue.oldest_received for queue in self._queues.values()] + [self.tools.announcer.oldest_since]
        self._has_inherited |= self._has_swept and not self._pending and not self._active
        if self.predecessors_read_until is not None and not self._has_inherited:
            open_since.append(self.predecessors_read_until.timestamp())
        oldest = min((since for since in open_since if since is not None), default=now.timestamp())
        return min(datetime.fromtimestamp(oldest, now.tzinfo), now)

    def vitals(self, connection_id: str) -> Vitals | None:
        """What is known of a connection of this host, None of any other."""
        keeper = self.keepers.get(connection_id)
        return keeper.vitals() if keeper is not None else None

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
                self._quarantine(connection_id, error)
            except StoreError as error:
                self.tools.observer.warn("reconcile_failed", id=connection_id, reason=str(error))
            finally:
                self._active.discard(connection_id)
                if self._pending:
                    self._signal.set()

    async def _agree(self, connection_id: str, record: WebSocketConnection | None) -> None:
        """Make the socket agree with a record that was just read."""
        keeper = self.keepers.get(connection_id)
        if keeper is not None:
            keeper.update(record)
            return
        if record is None:
            return
        step = self._step(record)
        if step is Step.CLAIM:
            await self._claim(connection_id)
        elif step in {Step.END, Step.RELEASE}:
            await self._settle(connection_id, step)
        if step is Step.PURGE:
            await self._purge(connection_id)
        elif not record.is_wanted or step is Step.END:
            await self._fail_outbox(record)

    async def _claim(self, connection_id: str) -> None:
        if self.is_draining or self._is_full():
            return
        claimed: WebSocketConnection | None = None
        clock = self.tools.clock

        def decide(record: WebSocketConnection | None) -> WebSocketConnection | None:
            nonlocal claimed
            claimed = None
            if record is None or self._step(record) is not Step.CLAIM:
                return None
            claimed = ownership.claim(record, self.instance_id, clock.now(), self.predecessors_read_until)
            return claimed

        stored = await self.tools.records.update(connection_id, decide)
        if claimed is None or stored is None or connection_id in self.keepers:
            return
        self._start(stored)

    def _is_full(self) -> bool:
        limit = self.limits.max_connections
        is_full = len(self.keepers) >= limit
        if is_full and not self._was_full:
            self.tools.observer.warn("host_full", max_connections=limit)
            self.tools.announcer.notice(f"{self.instance_id} holds {limit} connections (max_connections): others wait")
        self._was_full = is_full
        return is_full

    def _step(self, record: WebSocketConnection) -> Step:
        return ownership.next_step(
            record,
            claimable=self.is_claimable(record),
            now=self.tools.clock.now(),
            tombstone_ttl_s=self.limits.tombstone_ttl_s,
        )

    def _start(self, record: WebSocketConnection) -> None:
        queue = self._queues.get(record.id) or self._new_queue(record)
        keeper = Keeper(self.tools, record, queue)
        self.keepers[record.id] = keeper
        self._checked_outboxes.discard(record.id)
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
        self.keepers.pop(connection_id, None)
        self._tasks.pop(connection_id, None)
        if not len(self._queues[connection_id]):
            del self._queues[connection_id]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.tools.observer.warn("keeper_failed", id=connection_id, error=repr(error))  # the sweep claims again
        elif not self.is_draining:
            self.nudge(connection_id)  # a command may have come while the last write was on its way

    async def _settle(self, connection_id: str, step: Step) -> None:
        reason = "its host was lost (autoReconnect is off)" if step is Step.END else None
        settled: WebSocketConnection | None = None

        def decide(record: WebSocketConnection | None) -> WebSocketConnection | None:
            nonlocal settled
            settled = None
            if record is None or self._step(record) is not step:
                return None
            settled = ownership.settle(record, self.tools.clock.now(), reason)
            return settled

        await self.tools.records.update(connection_id, decide)
        if settled is not None:
            self.tools.announcer.status(settled, settled.status, reason=reason or "by command")

    async def _purge(self, connection_id: str) -> None:
        if await self.tools.records.delete(connection_id, lambda record: self._step(record) is Step.PURGE):
            self._queues.pop(connection_id, None)
            self._checked_outboxes.discard(connection_id)
            await self.tools.records.remove_from_index(connection_id)

    async def _fail_outbox(self, record: WebSocketConnection) -> None:
        tools = self.tools
        courier = Courier(record.id, 0, 0, tools.records, tools.announcer, tools.clock, tools.observer)
        await courier.fail_all(record.last_error or "the connection is disconnected")
        self._checked_outboxes.add(record.id)

    async def _drop_orphan(self, connection_id: str) -> None:
        """Take an id without a record out of the index, after a grace period."""
        now = self.tools.clock.monotonic()
        if now - self._orphans.setdefault(connection_id, now) >= self.limits.index_grace_s:
            del self._orphans[connection_id]
            await self.tools.records.remove_from_index(connection_id)

    def _quarantine(self, connection_id: str, error: GarbageRecordError) -> None:
        if connection_id not in self._quarantined:
            self._quarantined.add(connection_id)
            self.tools.observer.warn("record_quarantined", id=connection_id, reason=str(error))
            self.tools.announcer.notice(f"record quarantined: {error}", connection_id)
