"""Puts a manager together over any adapters: what every profile, every mode and the tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from handlers import QUERIES, ROUTES
from runtime.context import Context, Diagnosis, NoDiagnosis
from runtime.dispatch import CloudEventAttributes, Dispatch
from runtime.errors import StoreError
from runtime.guard import Guard
from runtime.host.announcer import Announcer
from runtime.host.metered import MeteredPublisher
from runtime.host.parcel import Parcel
from runtime.host.publisher import Lanes
from runtime.host.queue import FrameQueue
from runtime.host.vitals import Notes, StoredVitals, live
from runtime.models.events import Event
from runtime.models.instance import Instance
from runtime.models.outcome import Outcome
from runtime.ports import Gauges, Limits, Ports
from runtime.records import Records
from runtime.resident import Heart, Resident, assemble_resident

GOODBYE_S = 1.0


@dataclass(frozen=True, slots=True)
class Manager:
    """Handlers and, unless another process has it, the resident host over the same ports.

    Call `begin`, then `run` in a task, then `stop`.
    """

    ports: Ports
    limits: Limits
    context: Context
    dispatch: Dispatch
    announcer: Announcer
    events_lanes: Lanes
    resident: Resident | None

    async def take_in(self, event: Event) -> Outcome | None:
        """See `Context.take_in`."""
        if event.topic != self.context.names.commands_topic:
            await self.ports.publisher.publish_many([event])
            return None
        attributes = {"id": event.id, "source": event.source or None, "time": event.time}
        return await self.dispatch.deliver(event.data, CloudEventAttributes.read(attributes))

    def gauges(self) -> Gauges:
        """What it holds now."""
        held = self.resident.gauges() if self.resident is not None else Gauges()
        return replace(held, queued_events=len(self.announcer.queue))

    async def begin(self) -> None:
        """Start owning, where there is a host; otherwise `run` does it. Raises StoreError, PermanentError."""
        await self.context.records.keep_layout()
        if self.resident is not None:
            await self.resident.begin()

    async def run(self) -> None:
        """Work until cancelled, or until a part fails: its error is raised once all others have ended."""
        parts = [self.events_lanes.run, self._keep_layout, *([self.resident.run] if self.resident is not None else ())]
        try:
            async with asyncio.TaskGroup() as group:
                for part in parts:
                    group.create_task(part())
        except ExceptionGroup as failures:
            raise _first(failures) from failures

    async def _keep_layout(self) -> None:
        """Until it is known, nobody reads or changes the index. Raises PermanentError."""
        while True:
            try:
                await self.context.records.keep_layout()
            except StoreError as error:
                self.ports.observer.warn("layout_not_read", reason=str(error))
                await self.ports.clock.sleep(1)
            else:
                return

    async def stop(self, running: asyncio.Task[None]) -> None:
        """Drain within the deadline: close every socket, publish what was read if `run` still can, end it."""
        deadline_s = self.limits.drain_deadline_s
        try:
            async with asyncio.timeout(deadline_s):
                await self._drain(running)
        except TimeoutError:
            self.ports.observer.warn("drain_incomplete", reason=f"not done within {deadline_s:g} s")
        running.cancel()
        await asyncio.wait({running})
        if self.resident is not None:
            await self.resident.end()

    async def _drain(self, running: asyncio.Task[None]) -> None:
        """Close the sockets and wait until all is published; where nobody publishes any more, say goodbye only."""
        draining = asyncio.create_task(self._close_and_flush())
        try:
            await asyncio.wait({draining, running}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({draining}, timeout=GOODBYE_S)
            if draining.done():
                draining.result()
        finally:
            draining.cancel()

    async def _close_and_flush(self) -> None:
        if self.resident is not None:
            await self.resident.host.close()
            await self.resident.host.flush()
        await self.announcer.queue.wait_until_empty()


def assemble(
    ports: Ports,
    limits: Limits,
    guard: Guard,
    *,
    instance: Instance | None,
    shares_records: bool = False,
    announce: Callable[[Event], Awaitable[None]] | None = None,
    diagnosis: Diagnosis | None = None,
    notes: Notes | None = None,
    heart: Heart | None = None,
) -> Manager:
    """Wire a manager, which does nothing until it is begun.

    `instance`: of its host; None for handlers alone. `shares_records`: whether other hosts may own some of them.
    `announce`: how an outcome goes out before its command is acknowledged; by default it is queued, which is as good
    where nothing is acknowledged. `notes`: what the host says of itself beside its lease. `heart`: where that lease is
    kept, if not on this loop.
    """
    clock, random, observer, names = ports.clock, ports.random, ports.observer, limits.names
    records = Records(ports.store, clock, random, limits.index_shards)

    def refused(queue: FrameQueue, parcel: Parcel, reason: str) -> None:
        announcer.refused(queue, parcel, reason)

    def lanes_of(kind: str, width: int) -> Lanes:
        publisher = MeteredPublisher(ports.publisher, ports.meters, clock, kind)
        return Lanes(publisher, clock, random, observer, refused, width)

    async def take_in(event: Event) -> Outcome | None:
        return await manager.take_in(event)

    lanes, events_lanes = lanes_of("frame", ports.publisher.lanes), lanes_of("event", 1)
    announcer = Announcer(events_lanes, clock, names, limits, observer, ports.meters)
    resident = (
        assemble_resident(ports, limits, guard, instance, records, announcer, lanes, shares_records, notes, heart)
        if instance is not None
        else None
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
        sweeper=resident,
        vitals=live(resident.host) if resident is not None else StoredVitals(records, clock).look,
        diagnosis=diagnosis or NoDiagnosis(),
    )
    dispatch = Dispatch(ROUTES, QUERIES, context, announce or announcer.announce, announcer.put, ports.meters)
    manager = Manager(ports, limits, context, dispatch, announcer, events_lanes, resident)
    return manager


def _first(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error that says what went wrong."""
    error: BaseException = failures
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
