"""The resident part of a manager: the host with its lanes, its status writer and its lease."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass

from runtime.errors import GarbageRecordError, StoreError
from runtime.guard import Guard
from runtime.host.announcer import Announcer
from runtime.host.dialing import GuardedDialer
from runtime.host.host import Host
from runtime.host.lease import Lease
from runtime.host.publisher import Lane, Lanes
from runtime.host.status import StatusWriter
from runtime.host.tools import Tools
from runtime.host.vitals import Notes, VitalsWriter
from runtime.host.watch import Nobody, Watch
from runtime.models.instance import Instance
from runtime.ports import Clock, Gauges, Limits, Observer, Ports
from runtime.records import Records


@dataclass(frozen=True, slots=True)
class Resident:
    """What holds sockets. Ends with the process, while the records stay."""

    host: Host
    lanes: Lanes
    writer: StatusWriter
    lease: Lease
    watch: Watch | None
    vitals: VitalsWriter | None
    clock: Clock
    observer: Observer
    sweep_interval_s: float
    lease_s: float

    async def begin(self) -> None:
        """Learn what the process before this one had read, and write the first beat of the lease. Raises StoreError."""
        before = await self.lease.predecessor()
        self.host.predecessors_read_until = before.read_until if before else None
        await self.lease.begin()

    def parts(self) -> tuple[Callable[[], Coroutine[None, None, None]], ...]:
        """What has to run as long as the process does."""
        parts = (self.lanes.run, self.writer.run, self.host.run, self.lease.run, self.keep_sweeping)
        return parts if self.vitals is None else (*parts, self.vitals.run)

    def gauges(self) -> Gauges:
        """What it holds now."""
        host, renewed_at = self.host, self.lease.renewed_at
        keepers, queues = list(host.keepers.values()), list(host.queues())
        return Gauges(
            connections=Counter(keeper.reporter.status.label for keeper in keepers),
            frames_received=host.frames_of_ended + sum(keeper.frames_received for keeper in keepers),
            queued_messages=sum(len(queue) for queue in queues),
            queued_bytes=sum(queue.size_bytes for queue in queues),
            lease_age_s=None if renewed_at is None else self.clock.monotonic() - renewed_at,
        )

    def why_not_ready(self) -> str | None:
        """Why this host may not be counted on now; None when it may."""
        renewed_at = self.lease.renewed_at
        if self.host.is_draining:
            return "the host is draining"
        if renewed_at is None:
            return "the lease is not written yet"
        age_s = self.clock.monotonic() - renewed_at
        return f"the lease was last renewed {age_s:.1f} s ago" if age_s > self.lease_s else None

    async def sweep(self) -> Mapping[str, int]:
        """See `Sweeper`."""
        if self.watch is not None:
            await self.watch.look()
        return await self.host.sweep()

    async def keep_sweeping(self) -> None:
        """Sweep again and again: what a lost nudge or a lost tick of cron left undone is done then at the latest."""
        while True:
            await self.catch_up()
            await self.clock.sleep(self.sweep_interval_s)

    async def catch_up(self) -> None:
        """Sweep now, or say why that failed: for when nudges may have been missed."""
        try:
            await self.sweep()
        except (StoreError, GarbageRecordError) as error:
            self.observer.warn("sweep_failed", reason=str(error))

    async def end(self) -> None:
        """Cut what is left, and say for the last time what was read."""
        await self.host.abandon()
        with suppress(StoreError, GarbageRecordError):  # then the last beat stands: the next gap begins earlier
            await self.lease.beat()


def assemble_resident(
    ports: Ports,
    limits: Limits,
    guard: Guard,
    instance: Instance,
    records: Records,
    announcer: Announcer,
    lane: Callable[[], Lane],
    shares_records: bool,
    notes: Notes | None = None,
) -> Resident:
    """Wire the resident part; see `assemble`."""
    clock, random, observer = ports.clock, ports.random, ports.observer
    lanes = Lanes([lane() for _ in range(ports.publisher.lanes)])
    writer = StatusWriter(records, clock, observer, limits.status_writes_in_flight, lambda id_: host.nudge(id_))  # noqa: PLW0108 - made below
    dialer = GuardedDialer(ports.resolver, ports.dialer, guard, limits.max_handshakes)
    tools = Tools(records, dialer, announcer, writer, clock, random, observer, ports.meters)
    watch = Watch(records, clock, limits.lease_s) if shares_records else None
    host = Host(instance.id, tools, lanes, limits, watch or Nobody())
    lease = Lease(
        instance,
        records,
        clock,
        observer,
        limits.heartbeat_interval_s,
        lambda: len(host.keepers),
        host.read_until,
    )
    vitals = VitalsWriter(host, records, clock, limits.vitals_interval_s, notes) if shares_records else None
    return Resident(host, lanes, writer, lease, watch, vitals, clock, observer, limits.sweep_interval_s, limits.lease_s)
