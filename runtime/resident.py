"""The resident part of a manager: the host with its lanes, its status writer and its lease."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
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
from runtime.models.connection import WebSocketConnection
from runtime.models.instance import Instance
from runtime.ports import Clock, Limits, Observer, Ports
from runtime.records import Records

IsClaimable = Callable[[WebSocketConnection], bool]


@dataclass(frozen=True, slots=True)
class Resident:
    """What holds sockets. Ends with the process, while the records stay."""

    host: Host
    lanes: Lanes
    writer: StatusWriter
    lease: Lease
    clock: Clock
    observer: Observer
    sweep_interval_s: float

    async def begin(self) -> None:
        """Learn what the process before this one had read, and write the first beat of the lease. Raises StoreError."""
        before = await self.lease.predecessor()
        self.host.predecessors_read_until = before.read_until if before else None
        await self.lease.begin()

    def parts(self) -> tuple[Callable[[], Coroutine[None, None, None]], ...]:
        """What has to run as long as the process does."""
        return (self.lanes.run, self.writer.run, self.host.run, self.lease.run, self.sweep)

    async def sweep(self) -> None:
        """Look at every record, again and again."""
        while True:
            try:
                await self.host.sweep()
            except (StoreError, GarbageRecordError) as error:
                self.observer.warn("sweep_failed", reason=str(error))
            await self.clock.sleep(self.sweep_interval_s)

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
    is_claimable: IsClaimable,
) -> Resident:
    """Wire the resident part; see `assemble`."""
    clock, random, observer = ports.clock, ports.random, ports.observer
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
    return Resident(host, lanes, writer, lease, clock, observer, limits.sweep_interval_s)
