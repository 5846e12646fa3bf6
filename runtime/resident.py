"""The resident part of a manager: the host with its lanes, its status writer and its lease."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass

from runtime.errors import GarbageRecordError, InstanceIdTakenError, StoreError
from runtime.guard import Guard
from runtime.host.announcer import Announcer
from runtime.host.dial_budget import DialBudget
from runtime.host.dialing import GuardedDialer
from runtime.host.forgetting import Forgetting
from runtime.host.host import Host
from runtime.host.lease import RETRY_S, Always, Lease
from runtime.host.place import Here, Place
from runtime.host.preparation import Preparation
from runtime.host.prepare_call import PrepareCall
from runtime.host.publisher import Lanes
from runtime.host.pulse import Pulse
from runtime.host.secrets import KeptSecrets
from runtime.host.status import StatusWriter
from runtime.host.succession import Succession
from runtime.host.sweeper import Sweeper
from runtime.host.tools import Tools
from runtime.host.vitals import Notes, VitalsWriter
from runtime.host.watch import Nobody, Watch
from runtime.models.instance import Instance
from runtime.ports import Clock, Gauges, Limits, Observer, Ports, StateStore
from runtime.records import Records

LAST_WORD_S = 5.0
STRICT_MARGIN_S = 1.0  # twice the time between two looks at the lease: sockets are closed before it has run out


@dataclass(frozen=True, slots=True)
class Heart:
    """Where the lease is kept apart from the main loop: a place for it, and a store that may be used there."""

    place: Place
    store: StateStore


@dataclass(frozen=True, slots=True)
class Resident:
    """What holds sockets. Ends with the process, while the records stay.

    `place`: where the lease is kept. `succession` is None where there can be no other hosts.
    """

    host: Host
    lanes: Lanes
    writer: StatusWriter
    lease: Lease
    place: Place
    pulse: Pulse
    watch: Watch
    succession: Succession | None
    vitals: VitalsWriter | None
    clock: Clock
    observer: Observer
    sweeper: Sweeper
    lease_s: float

    async def begin(self) -> None:
        """Wait until the process before this one is dead, learn what it had read, and write the first beat.

        Raises InstanceIdTakenError, GarbageRecordError; StoreError where no other host may be there.
        """
        before = await (self.succession.until_free() if self.succession is not None else self.lease.predecessor())
        self.host.inheritance.read_until = before.read_until if before else None
        self.pulse.take()
        await self._write_first_beat(before)
        self.watch.on_told_to_drain = self.host.begin_drain  # what the list said before was meant for another process

    async def run(self) -> None:
        """Begin, if it has not begun yet, and own connections until cancelled. Raises as `begin` does."""
        if not self.lease.has_begun:
            await self.begin()
        async with asyncio.TaskGroup() as group:
            for part in self._parts():
                group.create_task(part())

    def _parts(self) -> list[Callable[[], Coroutine[None, None, None]]]:
        parts = [self.lanes.run, self.writer.run, self.host.run, self.pulse.run, self._keep_lease, self.sweeper.run]
        if self.succession is None:
            return [*parts, self._keep_looking]
        vitals = [self.vitals.run] if self.vitals is not None else []
        forgetting = Forgetting(self.watch, self.host.tools.records, self.clock, self.observer)
        return [*parts, *vitals, self.host.mover.run, forgetting.run]

    async def _keep_lease(self) -> None:
        await self.place.run(self.lease.run())

    async def _write_first_beat(self, before: Instance | None) -> None:
        """Where other hosts may be, a store that is away is waited for; else it ends the start, as all that fails."""
        while True:
            try:
                await self.place.run(self.lease.begin(before))
            except StoreError as error:
                if self.succession is None:
                    raise
                self.observer.warn("heartbeat_failed", reason=str(error))
                await self.clock.sleep(RETRY_S)
            else:
                return

    async def _keep_looking(self) -> None:
        """Where there are no other hosts this one may still be told to drain."""
        while True:
            with suppress(StoreError, GarbageRecordError):
                await self.watch.look()
            await self.clock.sleep(RETRY_S)

    def gauges(self) -> Gauges:
        """What it holds now."""
        host, renewed_at = self.host, self.lease.renewed_at
        keepers, queues = list(host.keepers.values()), list(host.queues())
        return Gauges(
            connections=Counter(keeper.reporter.status.label for keeper in keepers),
            frames_received=host.frames_of_ended + sum(keeper.life.frames_received for keeper in keepers),
            frames_filtered=host.filtered_of_ended + sum(keeper.life.frames_filtered for keeper in keepers),
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
            waiting = self.succession.why_not() if self.succession is not None else None
            return waiting or "the lease is not written yet"
        age_s = self.clock.monotonic() - renewed_at
        return f"the lease was last renewed {age_s:.1f} s ago" if age_s > self.lease_s else None

    async def tick(self) -> None:
        """See `Sweeper`."""
        if self.lease.has_begun:
            await self.sweeper.tick()

    async def catch_up(self) -> None:
        """Look at all records soon: for when nudges may have been missed."""
        self.sweeper.catch_up()

    async def end(self) -> None:
        """Cut what is left, and say for the last time what was read, and that nobody has to wait for this host."""
        await self.host.abandon()
        self.pulse.take()
        # If it cannot be said, the last beat stands: others wait for a lease, and the next gap begins earlier.
        with suppress(StoreError, GarbageRecordError, InstanceIdTakenError, TimeoutError):
            async with asyncio.timeout(LAST_WORD_S):
                await self.place.run(self.lease.end())


def assemble_resident(
    ports: Ports,
    limits: Limits,
    guard: Guard,
    instance: Instance,
    records: Records,
    announcer: Announcer,
    lanes: Lanes,
    shares_records: bool,
    notes: Notes | None = None,
    heart: Heart | None = None,
) -> Resident:
    """Wire the resident part; see `assemble`."""
    clock, random, observer = ports.clock, ports.random, ports.observer
    writer = StatusWriter(records, clock, observer, limits.status_writes_in_flight, lambda id_: host.nudge(id_))  # noqa: PLW0108 - made below
    preparation = Preparation(
        KeptSecrets(ports.sources, clock),
        PrepareCall(ports.sources, ports.resolver, guard, limits.max_handshakes),
    )
    dialer = GuardedDialer(ports.resolver, ports.dialer, guard, limits.max_handshakes)
    instance = instance.model_copy(update={"max_connections": limits.max_connections})
    place = heart.place if heart is not None else Here()
    lease = Lease(
        instance,
        Records(heart.store, clock, random) if heart is not None else records,
        clock,
        observer,
        limits.heartbeat_interval_s,
        limits.lease_s - (STRICT_MARGIN_S if limits.is_strict else 0),
        limits.loop_stall_limit_s,
        lambda: pulse.latest if heart is not None else pulse.take(),
    )
    watch = Watch(records, clock, limits.lease_s, instance.id)
    others = watch if shares_records else Nobody()
    dials = DialBudget(records, clock, random, observer, instance.id, limits.dials, others)
    tools = Tools(
        records,
        preparation,
        dialer,
        dials,
        announcer,
        writer,
        clock,
        random,
        observer,
        ports.nudges,
        ports.meters,
        limits.names,
        others,
        lease if shares_records else Always(),
    )
    host = Host(instance.id, tools, lanes, limits, others)
    pulse = Pulse(host, clock)
    succession = Succession(lease, watch, clock, observer) if shares_records else None
    vitals = VitalsWriter(host, records, clock, limits.vitals_interval_s, notes) if shares_records else None

    return Resident(
        host,
        lanes,
        writer,
        lease,
        place,
        pulse,
        watch,
        succession,
        vitals,
        clock,
        observer,
        Sweeper(host, watch if shares_records else None),
        limits.lease_s,
    )
