"""The dial budget of a remote host under four processes' worth of dials that share nothing but a real store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from runtime import records
from runtime.adapters.clock import SystemClock
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.store import DaprStore
from runtime.failure import classify_status
from runtime.host import dial_budget
from runtime.host.dial_budget import DialBudget
from runtime.host.remote import Wait
from runtime.host.watch import Nobody
from runtime.models.dials import DialLimits
from runtime.records import Records
from tests.contract.sidecars import STORES, Prefixed
from tests.peers import until
from tests.sidecar import Sidecar

HOSTS = 4
URL = "wss://feed.example/stream"


@pytest.fixture(autouse=True)
def _with_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow store is not taken for one that is away, and lost races are not given up: both are tested elsewhere."""
    monkeypatch.setattr(dial_budget, "STORE_PATIENCE_S", 60)
    monkeypatch.setattr(records, "MAX_TRIES", 1000)


class Quiet:
    def __init__(self) -> None:
        self.warned: list[object] = []

    def log(self, event: str, **fields: object) -> None:
        pass

    def warn(self, event: str, **fields: object) -> None:
        self.warned.append((event, fields))


class Fleet:
    """Budgets that write to one store, and what was dialled under them."""

    def __init__(self, budgets: list[DialBudget], observer: Quiet) -> None:
        self.budgets, self.observer = budgets, observer
        self.dialled = self.in_flight = self.most = 0
        self.told: list[Wait | None] = []

    async def dial(self, budget: DialBudget, handshake_s: float) -> None:
        async with budget.turn(URL, self.told.append):
            self.dialled += 1
            self.in_flight += 1
            self.most = max(self.most, self.in_flight)
            await asyncio.sleep(handshake_s)
            self.in_flight -= 1

    def dial_all(self, each: int, handshake_s: float = 0.0) -> list[asyncio.Task[None]]:
        return [asyncio.create_task(self.dial(b, handshake_s)) for b in self.budgets for _ in range(each)]


@asynccontextmanager
async def fleet(sidecar: Sidecar, kind: str, limits: DialLimits) -> AsyncIterator[Fleet]:
    async with AsyncExitStack() as stack:
        observer, clock, budgets, store = Quiet(), SystemClock(), [], None
        for number in range(HOSTS):
            channel = Channel(f"127.0.0.1:{sidecar.grpc_port}", None)
            stack.push_async_callback(channel.close)
            store = Prefixed(DaprStore(channel, kind)) if store is None else store.on(DaprStore(channel, kind))
            shared = Records(store, clock, random.random)
            budgets.append(DialBudget(shared, clock, random.random, observer, f"h{number}", limits, Nobody()))
        running = [asyncio.create_task(budget.run()) for budget in budgets]
        try:
            yield Fleet(budgets, observer)
        finally:
            for task in running:
                task.cancel()
            await asyncio.wait(running)


async def ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@pytest.mark.parametrize("kind", STORES)
async def test_four_hosts_dial_no_more_than_the_budget(stores_sidecar: Sidecar, kind: str):
    async with fleet(stores_sidecar, kind, DialLimits(in_window=25, window_s=3600)) as hosts:
        dials = hosts.dial_all(each=20)
        await until(lambda: hosts.dialled >= 25, "the budget is spent", patience_s=60)
        await asyncio.sleep(1)
        assert hosts.dialled == 25
        await ended(dials)
        assert not hosts.observer.warned


@pytest.mark.parametrize("kind", STORES)
async def test_four_hosts_have_no_more_dials_in_flight_than_may_be_at_once(stores_sidecar: Sidecar, kind: str):
    async with fleet(stores_sidecar, kind, DialLimits(at_once=3)) as hosts:
        dials = hosts.dial_all(each=3, handshake_s=0.05)
        done, _ = await asyncio.wait(dials, timeout=120)
        assert len(done) == 3 * HOSTS
        assert hosts.most <= 3
        assert not hosts.observer.warned


@pytest.mark.parametrize("kind", STORES)
async def test_what_one_host_was_told_the_others_heed(stores_sidecar: Sidecar, kind: str):
    async with fleet(stores_sidecar, kind, DialLimits()) as hosts:
        first, *others = hosts.budgets
        first.heed(URL, classify_status(429, 3600))
        await until(lambda: first._remotes["feed.example:443"].heard_at, "it is written", patience_s=30)
        dials = [asyncio.create_task(hosts.dial(budget, 0)) for budget in others]
        await until(lambda: len(hosts.told) == HOSTS - 1, "all know", patience_s=30)
        assert {wait.why for wait in hosts.told if wait is not None} == {
            "feed.example:443 is left alone: the server answered HTTP 429 to the handshake"
        }
        assert hosts.dialled == 0
        await ended(dials)
