"""Plays one history on hosts, handlers and a store, and says what was broken."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import Any

from handlers.routes import QUERIES, ROUTES
from runtime.context import Context
from runtime.dispatch import Dispatch
from runtime.errors import StoreError
from runtime.guard import Guard
from runtime.ports import DEFAULT_NAMES, Limits
from runtime.records import Records
from tests.model.account import Account
from tests.model.agent import Agent
from tests.model.agreement import disagreements
from tests.model.held import Peers
from tests.model.processes import Process, time
from tests.model.steps import FRONTS, IDS, LEASE_S, PAUSE_MAX_S, TOMBSTONE_TTL_S, Script, script
from tests.model.stores import Link, Shared
from tests.virtual_time import VirtualTimeLoop

LIMITS = Limits(
    heartbeat_interval_s=0.4 * LEASE_S,
    sweep_interval_s=LEASE_S,
    lease_s=LEASE_S,
    tombstone_ttl_s=TOMBSTONE_TTL_S,
    index_grace_s=4,
    handover_s=2,
    drain_deadline_s=5,
    loop_stall_limit_s=1000,
)
QUIET_S = 45.0
BEGIN = 1_000.0  # where virtual time begins


def play(seed: int) -> History:
    """Play the history of a seed."""
    history = History(script(seed))
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        runner.run(history.run())
    return history


@dataclass(slots=True)
class Told:
    """A command, and the outcomes that its deliveries had."""

    name: str
    connection_id: str
    body: bytes
    issued_at: float
    outcomes: list[tuple[str, str]] = field(default_factory=list)


class History:
    def __init__(self, play: Script) -> None:
        self.script, self.random = play, Random(play.seed + 1_000_003)
        self.limits = replace(LIMITS, is_strict=play.is_strict)
        self.account = Account(LEASE_S, PAUSE_MAX_S, is_strict=play.is_strict)
        self.shared = Shared(play.manners, self.account.wrote)
        self.peers, self.agents = Peers(), list[Agent]()
        self.clocks = dict(play.skews)
        self.fronts = {name: Process(name, skew_s=play.skews[name]) for name in FRONTS}
        self.dispatch = {name: self._handlers(front) for name, front in self.fronts.items()}
        self.commands: list[Told] = []
        self.pending = self.started = 0

    def __str__(self) -> str:
        """All that a person needs to understand it, and to replay it."""
        story = "\n".join(f"  {at - BEGIN:8.3f}  {who:6}  {what}" for at, who, what in self.account.trace)
        faults = "\n".join(f"  - {fault}" for fault in self.faults) or "  nothing"
        return f"{self.script}\nwhat happened:\n{story}\nbroken:\n{faults}"

    @property
    def faults(self) -> list[str]:
        """Which promises it broke."""
        return self.account.faults

    async def run(self) -> None:
        for name in self.script.hosts:
            self._start(name)
        for name, *details in self.script.steps:
            if name == "wait":
                await asyncio.sleep(details[0])
            else:
                self.account.note("-", " ".join(map(str, (name, *details))))
                getattr(self, f"_{name}")(*details)
            if self.account.faults:
                break
        else:
            await self._be_quiet()
        for agent in self.agents:
            agent.crash()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

    async def nudge(self, topic: str, connection_id: str) -> None:
        """The Nudges port: hints are lost, late, doubled, and so reordered."""
        for _ in range(self.random.choice([0, 1, 1, 1, 2])):
            late = self.random.choice([0.0, 0.01, self.random.uniform(0, 3)])
            asyncio.get_running_loop().call_later(late, self._hint, topic, connection_id)

    def _hint(self, topic: str, connection_id: str) -> None:
        hearing = [
            agent for agent in self.living() if topic in {"websocket-host", f"websocket-host-{agent.instance_id}"}
        ]
        if hearing:
            agent = self.random.choice(hearing)
            agent.spawn(agent.hear(connection_id))

    def living(self, name: str | None = None) -> list[Agent]:
        return [agent for agent in self.agents if not agent.is_over and name in {None, agent.instance_id}]

    def _handlers(self, front: Process) -> Dispatch:
        async def announce(_event: object) -> None: ...

        none: Any = None
        records = Records(Link(front, self.shared, self.random), front, self.random.random)
        guard = Guard(allow_private=False)
        context = Context(records, self, front, DEFAULT_NAMES, LIMITS, guard, none, none)
        return Dispatch(ROUTES, QUERIES, context, announce, lambda _event: None)

    def _start(self, name: str) -> None:
        if not self.living(name):
            self._twin(name)

    def _twin(self, name: str) -> None:
        """A process under an id under which another may still run."""
        self.started += 1
        process = Process(f"{name}/{self.started}", name, self.clocks[name], monotonic_zero=self.random.uniform(0, 900))
        link = Link(process, self.shared, self.random)
        agent = Agent(process, link, self.random, self.limits, self, self.account)
        self.agents.append(agent)
        agent.start(self.peers)

    def _crash(self, name: str) -> None:
        for agent in self.living(name):
            agent.crash()

    def _processes(self, name: str) -> list[Process]:
        return [self.fronts[name]] if name in self.fronts else [agent.process for agent in self.living(name)]

    def _pause(self, name: str, seconds: float) -> None:
        for process in self._processes(name):
            process.stands_until = max(process.stands_until, time() + seconds)

    def _cut(self, name: str, seconds: float) -> None:
        for process in self._processes(name):
            process.cut_until = time() + seconds

    def _outage(self, seconds: float) -> None:
        for name in (*self.script.hosts, *FRONTS):
            self._cut(name, seconds)

    def _slow(self, seconds: float) -> None:
        self.shared.slow_until = time() + seconds

    def _jump(self, name: str, seconds: float) -> None:
        self.clocks[name] = seconds
        for process in self._processes(name):
            process.skew_s = seconds

    def _drain(self, name: str) -> None:
        for agent in self.living(name):
            agent.spawn(agent.drain())

    def _give(self, connection_id: str) -> None:
        for agent in self.living():
            agent.give(connection_id)

    def _lose(self, connection_id: str) -> None:
        for agent in self.living():
            if connection_id in agent.keepers:
                agent.keepers[connection_id].lose_socket()

    def _refuse(self, connection_id: str, times: int) -> None:
        self.peers.refusing[connection_id] = times

    def _refuse_for_good(self, connection_id: str) -> None:
        self.peers.refuses_for_good.add(connection_id)

    def _tell(self, name: str, id_: str, fields: dict[str, Any], front: str, late: float, again: float | None) -> None:
        clock = self.fronts[front]
        issued_at = clock.now() + timedelta(microseconds=len(self.commands))  # no two at one time
        command = {"command": name, "id": id_, "commandId": f"c{len(self.commands)}", **fields}
        body = json.dumps({**command, "issuedAt": issued_at.isoformat()}).encode()
        told = Told(name, id_, body, time() + len(self.commands) * 1e-6)
        self.commands.append(told)
        for index, delay in enumerate(delay for delay in (late, again) if delay is not None):
            at = front if index == 0 else self.random.choice(FRONTS)
            self.pending += 1
            task = asyncio.get_running_loop().create_task(self._deliver(told, at, delay))
            task.add_done_callback(self._delivered)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.account.fault("-", f"a handler broke: {error!r}")

    async def _deliver(self, told: Told, front: str, delay: float) -> None:
        """As a broker does: again and again until it is acknowledged."""
        await asyncio.sleep(delay)
        while True:
            try:
                outcome = await self.dispatch[front].deliver(told.body)
            except StoreError:
                await asyncio.sleep(1)
            else:
                self.account.note(front, f"{told.name} {told.connection_id}: {outcome.status} ({outcome.reason})")
                if not outcome.reason.startswith("no connection"):  # else there is nothing to remember it by
                    told.outcomes.append((outcome.command_id, outcome.status))
                self.pending -= 1
                return

    async def _be_quiet(self) -> None:
        """All is healed, and soon everything has to agree."""
        self.account.note("-", "quiet from here on")
        self.shared.is_calm, self.shared.slow_until = True, 0.0
        self.peers.refusing.clear()
        self.peers.refuses_for_good.clear()
        processes = [*self.fronts.values(), *(agent.process for agent in self.living())]
        for process in processes:
            process.cut_until = 0
        if not self.living() or self.random.random() < 0.5:
            for name in self.script.hosts:
                self._start(name)
        deadline = max([time(), *(process.stands_until for process in processes)]) + QUIET_S
        while time() < deadline and not self.account.faults:
            await asyncio.sleep(1)
            if not self.living():  # the last one was draining
                self._start(self.script.hosts[0])
            if not any(self._disagreements()):
                break
        for disagreement in self._disagreements():
            self.account.fault("-", disagreement)
        self._check_outcomes()

    def _disagreements(self) -> list[str]:
        found = [f"{self.pending} deliveries have no end"] if self.pending else []
        return found + disagreements(self.shared, self.account, IDS)

    def _check_outcomes(self) -> None:
        for told in self.commands:
            statuses = {status for _, status in told.outcomes}
            command_ids = {command_id for command_id, _ in told.outcomes}
            written = {self.account.written[id_] for id_ in command_ids if id_ in self.account.written}
            if "accepted" in statuses and "accepted" not in written:
                self.account.fault("-", f"{told.name} {told.connection_id} was accepted and never written")
            is_kept = self.script.clocks_agree and told.connection_id not in self.account.purged
            if is_kept and written and len(statuses | written) > 1:
                self.account.fault("-", f"{told.name} {told.connection_id} ended as {statuses} and {written}")
