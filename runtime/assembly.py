"""Puts a manager together over any adapters: what every profile and the tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from handlers import QUERIES, ROUTES, SWEEP
from runtime.context import Context
from runtime.dispatch import CloudEventAttributes, Dispatch
from runtime.errors import GarbageRecordError, StoreError
from runtime.guard import Guard
from runtime.host.announcer import Announcer
from runtime.host.dialing import GuardedDialer
from runtime.host.host import Host
from runtime.host.lease import Lease
from runtime.host.publisher import Lane, Lanes
from runtime.host.queue import Entry, FrameQueue
from runtime.host.status import StatusWriter
from runtime.host.tools import Tools
from runtime.models.connection import WebSocketConnection
from runtime.models.events import Event
from runtime.models.instance import Instance
from runtime.models.outcome import Outcome
from runtime.ports import (
    Clock,
    DeadLetters,
    Dialer,
    Limits,
    Nudges,
    Observer,
    Publisher,
    Random,
    Resolver,
    StateStore,
)
from runtime.records import Records


@dataclass(frozen=True, slots=True)
class Ports:
    """All that a profile has to bring."""

    store: StateStore
    publisher: Publisher
    nudges: Nudges
    dead_letters: DeadLetters
    resolver: Resolver
    dialer: Dialer
    clock: Clock
    random: Random
    observer: Observer


@dataclass(frozen=True, slots=True)
class Manager:
    """Handlers and host over the same ports. Call `begin`, then `run` in a task, then `stop`."""

    ports: Ports
    limits: Limits
    context: Context
    dispatch: Dispatch
    announcer: Announcer
    events_lane: Lane
    lanes: Lanes
    writer: StatusWriter
    host: Host
    lease: Lease

    async def take_in(self, event: Event) -> Outcome | None:
        """See `Context.take_in`."""
        if event.topic != self.context.names.commands_topic:
            await self.ports.publisher.publish_many([event])
            return None
        attributes = {"id": event.id, "source": event.source or None, "time": event.time}
        return await self.dispatch.deliver(event.data, CloudEventAttributes.read(attributes))

    async def begin(self) -> None:
        """Learn what the process before this one had read, and write the first beat of the lease. Raises StoreError."""
        before = await self.lease.predecessor()
        self.host.predecessors_read_until = before.read_until if before else None
        await self.lease.begin()

    async def run(self) -> None:
        """Work until cancelled, or until a part fails: its error is raised once all others have ended."""
        parts = (self.events_lane.run, self.lanes.run, self.writer.run, self.host.run, self.lease.run, self.sweep)
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part())
        except ExceptionGroup as failures:
            raise _first(failures) from failures

    async def sweep(self) -> None:
        """Look at every record, again and again."""
        while True:
            try:
                await SWEEP(self.context)
            except (StoreError, GarbageRecordError) as error:
                self.ports.observer.warn("sweep_failed", reason=str(error))
            await self.ports.clock.sleep(self.limits.sweep_interval_s)

    async def stop(self, running: asyncio.Task[None]) -> None:
        """Drain within the deadline: close every socket, publish what was read if `run` still can, end it."""
        deadline_s, observer = self.limits.drain_deadline_s, self.ports.observer
        try:
            async with asyncio.timeout(deadline_s):
                await self.host.close()
                await self._flush(running)
        except TimeoutError:
            observer.warn("drain_incomplete", reason=f"not done within {deadline_s:g} s")
        running.cancel()
        await asyncio.wait({running})
        await self.host.abandon()
        with suppress(StoreError, GarbageRecordError):  # then the last beat stands: the next gap begins earlier
            await self.lease.beat()

    async def _flush(self, running: asyncio.Task[None]) -> None:
        """Wait for the queues to run empty, unless nobody empties them any more."""
        flushing = asyncio.create_task(self.host.flush())
        try:
            await asyncio.wait({flushing, running}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            flushing.cancel()


def assemble(
    ports: Ports,
    instance: Instance,
    limits: Limits,
    guard: Guard,
    *,
    is_claimable: Callable[[WebSocketConnection], bool],
) -> Manager:
    """Wire a manager, which does nothing until it is begun. `is_claimable`: see `Host`."""
    clock, random, observer, names = ports.clock, ports.random, ports.observer, limits.names
    records = Records(ports.store, clock, random, limits.index_shards)

    def refused(queue: FrameQueue, entry: Entry, reason: str) -> None:
        announcer.refused(queue, entry, reason)

    def lane() -> Lane:
        return Lane(ports.publisher, clock, random, observer, refused)

    async def take_in(event: Event) -> Outcome | None:
        return await manager.take_in(event)

    events_lane = lane()
    announcer = Announcer(events_lane, clock, names, limits, observer)
    lanes = Lanes([lane() for _ in range(ports.publisher.lanes)])
    writer = StatusWriter(records, clock, observer, limits.status_writes_in_flight, lambda id_: host.nudge(id_))  # noqa: PLW0108 - made below
    dialer = GuardedDialer(ports.resolver, ports.dialer, guard, limits.max_handshakes)
    tools = Tools(records, dialer, announcer, writer, clock, random, observer)
    host = Host(instance.id, tools, lanes, limits, is_claimable)
    lease = Lease(
        instance,
        records,
        clock,
        observer,
        limits.heartbeat_interval_s,
        lambda: len(host.keepers),
        host.read_until,
    )
    context = Context(
        records=records,
        nudges=ports.nudges,
        clock=clock,
        names=names,
        limits=limits,
        guard=guard,
        dead_letters=ports.dead_letters,
        take_in=take_in,
        sweeper=host,
        vitals=host.vitals,
    )
    dispatch = Dispatch(ROUTES, QUERIES, context, announcer.announce)
    manager = Manager(ports, limits, context, dispatch, announcer, events_lane, lanes, writer, host, lease)
    return manager


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that says what went wrong."""
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
