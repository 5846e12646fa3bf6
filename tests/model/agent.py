"""A host with booleans for sockets: the glue of `Host` around the very parts that it uses."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from random import Random
from typing import Any

from runtime import ownership, placement
from runtime.errors import InstanceIdTakenError, StoreError
from runtime.host import lease as leases
from runtime.host.agenda import Agenda
from runtime.host.claims import Claims
from runtime.host.handover import LOOK_EVERY_S
from runtime.host.inheritance import Inheritance
from runtime.host.lease import RETRY_S, Lease
from runtime.host.status import StatusWriter
from runtime.host.succession import Succession
from runtime.host.sweeper import Sweeper
from runtime.host.tools import Tools
from runtime.host.unheld import Unheld
from runtime.host.watch import Watch
from runtime.models.connection import WebSocketConnection
from runtime.models.instance import Instance
from runtime.ownership import Step
from runtime.placement import Share
from runtime.ports import Limits, Nudges, StateStore
from runtime.records import Records
from tests.model.account import Account
from tests.model.held import Held, Peers, Silent, World
from tests.model.processes import Process

WORKERS = 2


class Agent:
    """One process. Lease, watch, succession, sweeper, claims and all that writes are those of a real host."""

    def __init__(
        self, process: Process, link: StateStore, random: Random, limits: Limits, nudges: Nudges, account: Account
    ) -> None:
        self.process, self.limits, self.account = process, limits, account
        self.instance_id, self.is_draining, self.is_over = process.host_id, False, False
        self.keepers: dict[str, Held] = {}
        self.agenda, self.inheritance = Agenda(), Inheritance()
        records, silent = Records(link, process, random.random), self._silent()
        self.others = Watch(records, process, limits.lease_s, self.instance_id)
        self.lease = self._new_lease(records)
        writer = StatusWriter(records, process, silent, 1, self.nudge)
        self.tools = Tools(
            records,
            silent,
            silent,
            silent,
            silent,
            writer,
            process,
            random.random,
            silent,
            nudges,
            others=self.others,
            tenure=self.lease,
        )
        self.unheld = Unheld(self.tools, limits, self.step)
        self._random = random
        self._claims = Claims(self.instance_id, self.tools, self.inheritance, self.step, process.now)
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, peers: Peers) -> None:
        draining = lambda: self.is_draining  # noqa: E731
        self._world = World(self.process, self.account, peers, self._random, self.spawn, draining)
        self.spawn(self._run())

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def crash(self) -> None:
        """What SIGKILL does: everything stops where it is, and the kernel closes the sockets."""
        self.is_over = True
        for task in self._tasks:
            task.cancel()
        self.keepers.clear()
        self.account.crashed(self.process)

    def nudge(self, connection_id: str) -> None:
        self.agenda.add(connection_id)

    async def hear(self, connection_id: str) -> None:
        """A nudge has come."""
        await self.process.stand()
        self.nudge(connection_id)

    def step(self, record: WebSocketConnection) -> Step:
        return ownership.next_step(
            record,
            self.instance_id,
            is_gone=self.others.is_gone,
            now=self.process.now(),
            tombstone_ttl_s=self.limits.tombstone_ttl_s,
        )

    def all_looked_at(self) -> None:
        """See `Host`."""

    def give(self, connection_id: str) -> None:
        """Hand a connection over to the host with most room, if there is one."""
        held = self.keepers.get(connection_id)
        living = sorted(self.others.living().items())
        to = placement.lightest({id_: Share(lease.load, lease.max_connections) for id_, lease in living})
        if held is not None and held.can_move and to is not None:
            held.hand_over(to, self.limits.handover_s)

    async def drain(self) -> None:
        """SIGTERM: hand over what can be, let go of the rest, say good-bye."""
        await self.process.stand()
        self.is_draining = True
        given: Counter[str] = Counter()
        deadline = self.process.monotonic() + self.limits.drain_deadline_s
        while self.keepers and self.process.monotonic() < deadline:
            for id_, held in list(self.keepers.items()):
                if held.can_move and not given[id_]:
                    given[id_] += 1
                    self.give(id_)
            await self.process.sleep(LOOK_EVERY_S)
        for held in self.keepers.values():
            held.drain()
        while self.keepers and self.process.monotonic() < 2 * deadline:
            await self.process.sleep(LOOK_EVERY_S)
        with suppress(StoreError):
            await self.lease.end()
        self.crash()

    async def _run(self) -> None:
        """As the process does: wait for the one before, beat, and work."""
        before = await Succession(self.lease, self.others, self.process, self._silent()).until_free()
        while not self.lease.has_begun:
            try:
                await self.lease.begin(before)
            except StoreError:
                await self.process.sleep(RETRY_S)
        sweeper: Any = Sweeper(self, self.others)  # type: ignore[arg-type]
        for part in (self.lease.run, self.tools.writer.run, sweeper.run, self._heed_lease, *[self._work] * WORKERS):
            self.spawn(part())

    async def _heed_lease(self) -> None:
        """Read again what was read before the lease was lost; under strict fencing, hold no socket without one."""
        while True:
            await self.process.sleep(RETRY_S)
            for id_, held in self.keepers.items():
                if self.lease.is_held() and held.term != self.lease.term:
                    self.nudge(id_)
                elif not self.lease.is_held() and self.limits.is_strict:
                    held.suspend()

    async def _work(self) -> None:
        while True:
            async with self.agenda.next() as (id_, _is_for_any):
                try:
                    await self._look_at(id_)
                except StoreError:
                    self.agenda.add_later(id_)

    async def _look_at(self, id_: str) -> None:
        term = self.lease.term
        record = await self.tools.records.get(id_)
        held = self.keepers.get(id_)
        if held is not None:
            held.update(record, term)
            return
        step = self.step(record) if record is not None else Step.NOTHING
        if step is Step.CLAIM and not self.lease.is_held():
            self.agenda.add_later(id_)
        elif step is Step.CLAIM and not self.is_draining:
            claimed = await self._claims.claim(id_)
            if claimed is None:
                self.nudge(id_)
            else:
                self._hold(claimed, term)
        elif step in {Step.END, Step.RELEASE}:
            await self.unheld.settle(id_, step, None)
        elif step is Step.PURGE:
            await self.unheld.purge(id_)

    def _hold(self, record: WebSocketConnection, term: int) -> None:
        held = self.keepers[record.id] = Held(self._world, self.tools, record, term)
        if self.is_draining:
            held.drain()
        self.spawn(self._keep(held))

    async def _keep(self, held: Held) -> None:
        await held.run()
        del self.keepers[held.record.id]
        if not self.is_draining:
            self.nudge(held.record.id)

    def _new_lease(self, records: Records) -> Lease:
        process, limits = self.process, self.limits
        now, incarnation = process.now(), process.name
        instance = Instance(
            id=self.instance_id, incarnation=incarnation, started_at=now, read_until=now, max_connections=10
        )

        def account() -> leases.Account:
            return leases.Account(len(self.keepers), process.now(), self.is_draining, process.monotonic())

        return Lease(
            instance,
            records,
            process,
            self._silent(),
            limits.heartbeat_interval_s,
            limits.lease_s,
            limits.loop_stall_limit_s,
            account,
        )

    def _silent(self) -> Any:
        return Silent()

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, InstanceIdTakenError) and not self.is_over:
            self.account.note(self.process.name, "ends: another process has its id")
            self.crash()
        elif error is not None and not self.is_over:
            self.account.fault(self.process.name, f"a task broke: {error!r}")
