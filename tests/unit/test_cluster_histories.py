"""Any history of commands and faults on several hosts: one owner in the end, and no number is missing in silence."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from runtime.adapters.memory.sockets import MemorySocket
from runtime.failure import Failure, FailureKind
from runtime.models.status import ConnectionStatus
from runtime.models.wire import format_time
from tests.unit.cluster import LIMITS, Cluster, Member, View
from tests.virtual_time import virtual_time

HOSTS, IDS = "ABC", ("a", "b")
FAST = replace(LIMITS, heartbeat_interval_s=1, lease_s=5, handover_s=3, sweep_interval_s=30, drain_deadline_s=5)
OPTIONS = {"reconnectAttempts": 0, "reconnectMaxDelayS": 1, "pingIntervalS": 0}
QUIET_S = 45  # longer than a lease, a slow pass and every backoff
EVERY_S = 0.1
COUNT = 100

BRIEF_S, LONG_S = (0.0, 0.05, 0.1, 0.2, 0.3, 0.5), (1.0, 3.0, 7.0)


def steps_of(seed: int) -> list[tuple[Any, ...]]:
    """A history: mostly moves, and what may happen in the middle of one."""
    chance = Random(seed)
    pick = chance.choice
    fault: list[Callable[[], tuple[Any, ...]]] = [
        lambda: ("kill", pick(HOSTS)),
        lambda: ("stop", pick(HOSTS)),
        lambda: ("start", pick(HOSTS)),
        lambda: ("cut", pick(HOSTS), pick([True, False])),
        lambda: ("lose", pick(IDS), pick([None, 1000, 1012])),
        lambda: ("refuse", pick(HOSTS), pick([1, 3, 20])),
        lambda: ("nudges", pick([True, False])),
        lambda: pick([("reconnect", pick(IDS)), ("remove", pick(IDS)), ("connect", pick(IDS)), ("drain", pick(HOSTS))]),
    ]
    made: list[tuple[Any, ...]] = (
        [("cut_all", True), ("wait", 7.0), ("cut_all", False)] if chance.random() < 0.1 else []
    )
    while len(made) < 16:
        made += [("move", pick(IDS)), ("wait", pick(BRIEF_S)), pick(fault)(), ("wait", pick((*BRIEF_S, *LONG_S)))]
    return made


class History:
    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.cluster = Cluster(0, FAST)
        self.views: dict[str, View] = {}
        self.sent: dict[str, list[str]] = defaultdict(list)  # by connection: when each number was sent
        self.lives: dict[str, list[int]] = defaultdict(list)  # by number: in which life of its connection; 0: in none
        self.life = dict.fromkeys(IDS, 0)
        self.is_wanted = dict.fromkeys(IDS, False)
        self.has_split = False  # somebody could not reach the store: two may have read at once
        self.sockets: list[MemorySocket] = []
        self.cluster.publisher.before = self._be_slow

    async def _be_slow(self, _: object) -> None:
        """The broker takes its time, and not always the same."""
        await asyncio.sleep(0.4 * self.chance.random())

    async def run(self, steps: list[tuple[Any, ...]]) -> None:
        feeding = asyncio.create_task(self._feed())
        async with self.cluster.running():
            for host in HOSTS:
                self._new(host)
            await asyncio.sleep(3)
            for id_ in IDS:
                await self._connect(id_)
            await asyncio.sleep(1)
            for name, *details in steps:
                await getattr(self, f"_{name}")(*details)
            await self._heal()
            await asyncio.sleep(QUIET_S)
            await self._check()
            feeding.cancel()

    async def _heal(self) -> None:
        await self._cut_all(False)
        await self._nudges(True)
        for host in HOSTS:
            await self._start(host)
            self.cluster.members[host].dialer.failures.clear()

    def _new(self, host: str) -> None:
        member = self.cluster.new(host)
        view = self.views[host] = View(self.cluster.store)
        member.manager.context.records.store = view
        member.dialer.on_dial = self.sockets.append
        member.start()

    def _alive(self, host: str) -> Member | None:
        member = self.cluster.members[host]
        return member if member.running is not None and not member.running.done() else None

    async def _feed(self) -> None:
        while True:
            for id_ in IDS:
                self.sent[id_].append(format_time(self.cluster.clock.now()))
                self.lives[id_].append(self.life[id_] if self.is_wanted[id_] else 0)
                for socket in self.sockets:
                    if socket.is_open and f"/{id_}?" in socket.dial.url:
                        socket.push(str(len(self.sent[id_]) - 1))
            await asyncio.sleep(EVERY_S)

    # ---- steps

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _move(self, id_: str) -> None:
        for member in self.cluster.members.values():
            keeper = member.host.keepers.get(id_)
            if self._alive(member.id) and keeper is not None and keeper.can_move:
                to = self.chance.choice([host for host in HOSTS if host != member.id])
                keeper.hand_over(to, FAST.handover_s, lambda host=member.host: not host.is_draining)  # type: ignore[misc]

    async def _kill(self, host: str) -> None:
        if (member := self._alive(host)) is not None:
            await member.kill()

    async def _stop(self, host: str) -> None:
        if (member := self._alive(host)) is not None:
            await member.stop()

    async def _start(self, host: str) -> None:
        if self._alive(host) is None:
            self._new(host)

    async def _cut(self, host: str, is_cut: bool) -> None:
        self.views[host].is_cut = is_cut
        self.has_split = self.has_split or is_cut

    async def _cut_all(self, is_cut: bool) -> None:
        for view in self.views.values():
            view.is_cut = is_cut
        self.has_split = self.has_split or is_cut

    async def _lose(self, id_: str, code: int | None) -> None:
        for socket in self.sockets:
            if socket.is_open and f"/{id_}?" in socket.dial.url:
                socket.lose(code)

    async def _refuse(self, host: str, count: int) -> None:
        self.cluster.members[host].dialer.failures += [Failure(FailureKind.TRANSIENT, "by the history")] * count

    async def _connect(self, id_: str) -> None:
        await self.cluster.connect(id_, options=OPTIONS)
        if not self.is_wanted[id_]:
            self.life[id_] += 1
        self.is_wanted[id_] = True

    async def _reconnect(self, id_: str) -> None:
        await self.cluster.command("reconnect", id=id_)

    async def _remove(self, id_: str) -> None:
        self.is_wanted[id_] = False
        await self.cluster.command("disconnect", id=id_)

    async def _nudges(self, arrive: bool) -> None:
        self.cluster.topics.is_lossy = not arrive

    async def _drain(self, host: str) -> None:
        await self.cluster.command("drain", instance=host)

    # ---- what must hold

    async def _check(self) -> None:
        for member in self.cluster.members.values():
            assert self._alive(member.id), member.running
            assert not [w for w in member.observer.warnings if w[0] == "keeper_failed"], member.observer.warnings
        everybody_drains = all(member.host.is_draining for member in self.cluster.members.values())
        for id_ in IDS:
            record = await self.cluster.record(id_)
            is_live = self.is_wanted[id_] and not everybody_drains
            holders = self.cluster.holders_of(id_)
            open_ = [s for s in self.sockets if s.is_open and f"/{id_}?" in s.dial.url]
            assert len(holders) == len(open_) == is_live, (id_, holders, len(open_), record)
            assert record.instance_id == (holders[0] if holders else None)
            assert record.handover is None
            if not everybody_drains:
                expected = ConnectionStatus.CONNECTED if is_live else ConnectionStatus.DISCONNECTED
                assert record.status is expected, record
            self._check_numbers(id_)

    def _check_numbers(self, id_: str) -> None:
        published: dict[int, None] = {}  # in the order of first arrival
        last: dict[int, int] = {}
        for frame in self.cluster.data("frame"):
            if frame["websocketId"] == id_:
                epoch, sequence = frame["epoch"], frame["sequence"]
                if sequence > last.get(epoch, 0):
                    assert sequence == last.get(epoch, 0) + 1, f"a silent hole in epoch {epoch} of {id_}"
                    last[epoch] = sequence
                    published.setdefault(int(frame["payload"]))
        assert self.has_split or list(published) == sorted(published), f"order of {id_}"
        gaps = [gap for gap in self.cluster.data("gap") if gap["connectionId"] == id_ and gap["kind"] == "blind"]
        for life in range(1, self.life[id_] + 1):
            mine = [number for number, lived in enumerate(self.lives[id_]) if lived == life]
            came = [number for number in mine if number in published]
            missing = [number for number in mine if came and came[0] < number < came[-1] and number not in published]
            for number in missing:
                at = self.sent[id_][number]
                assert any(gap["fromTime"] <= at <= gap["toTime"] for gap in gaps), (id_, number, at, gaps)


@pytest.mark.parametrize(
    "seeds", [range(first, first + 20) for first in range(0, COUNT, 20)], ids=lambda seeds: seeds[0]
)
def test_after_any_history_of_several_hosts_each_connection_has_one_owner_and_no_number_is_missing_in_silence(
    seeds: range,
):
    for seed in seeds:

        @virtual_time
        async def run(seed: int = seed):
            await History(seed).run(steps_of(seed))

        try:
            run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {steps_of(seed)}: {error}") from error
