"""A held event loop and a silent store, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from runtime.adapters.health import ASK_DEADLINE_S, KEPT_TICKS, SILENT_S, STALLED_S, TICK_S, LoopLag, StorePulse
from runtime.adapters.memory.store import MemoryStore
from runtime.errors import StoreError
from tests.virtual_time import FakeClock, VirtualTimeLoop, virtual_time


def hold(seconds: float) -> None:
    """What a call that blocks does to the loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualTimeLoop)
    loop.virtual_now += seconds


async def running(part: Callable[[], Awaitable[Any]], seconds: float, then: Callable[[], None]) -> None:
    task = asyncio.ensure_future(part())
    await asyncio.sleep(seconds)
    then()
    task.cancel()
    await asyncio.wait({task})


@virtual_time
async def test_a_loop_that_ticks_has_no_lag():
    lag = LoopLag(FakeClock())
    await running(lag.run, 60, lambda: None)
    assert lag.worst_s() == pytest.approx(0, abs=0.001)
    assert lag.why_not() is None


@virtual_time
async def test_the_worst_lag_is_remembered_for_ten_seconds_and_readiness_returns_at_once():
    lag = LoopLag(FakeClock())
    task = asyncio.ensure_future(lag.run())
    await asyncio.sleep(1)
    hold(STALLED_S + 1)
    assert lag.why_not() is not None  # asked while it is held, before the sampler has had its turn
    await asyncio.sleep(0.6)
    assert lag.worst_s() == pytest.approx(STALLED_S + 1, abs=0.3)
    assert lag.why_not() is None
    await asyncio.sleep(11)
    assert lag.worst_s() == pytest.approx(0, abs=0.001)
    task.cancel()
    await asyncio.wait({task})


@virtual_time
async def test_every_tick_that_a_stall_has_swallowed_counts_with_its_own_delay():
    delays: list[float] = []
    lag = LoopLag(FakeClock(), delays.append)

    def stall() -> None:
        delays.clear()
        hold(1)

    task = asyncio.ensure_future(lag.run())
    await asyncio.sleep(10 * TICK_S)
    assert delays == pytest.approx([0] * 10, abs=0.001)
    stall()
    await asyncio.sleep(TICK_S)
    assert len(delays) == pytest.approx(1 / TICK_S, abs=2)
    assert delays[:3] == pytest.approx([1 - TICK_S, 1 - 2 * TICK_S, 1 - 3 * TICK_S], abs=0.001)
    assert delays[-1] < TICK_S
    task.cancel()
    await asyncio.wait({task})


@virtual_time
async def test_after_a_pause_of_a_day_the_worst_is_told_and_ticks_go_on_at_once():
    delays: list[float] = []
    lag = LoopLag(FakeClock(), delays.append)
    task = asyncio.ensure_future(lag.run())
    await asyncio.sleep(1)
    delays.clear()
    hold(86_400)
    await asyncio.sleep(10 * TICK_S)
    assert lag.worst_s() == pytest.approx(86_400, abs=1)
    assert len(delays) < 2 * KEPT_TICKS
    assert delays[-1] == pytest.approx(0, abs=0.001)
    task.cancel()
    await asyncio.wait({task})


@virtual_time
async def test_a_store_that_answers_is_there_also_with_nothing_in_it():
    pulse = StorePulse(MemoryStore(), FakeClock())
    reasons: list[str | None] = []
    await running(pulse.run, 60, lambda: reasons.append(pulse.why_not()))
    assert reasons == [None]


class Faulty(MemoryStore):
    def __init__(self, fault: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self.fault = fault

    async def get(self, key: str):
        await self.fault()
        return await super().get(key)


async def fails() -> None:
    raise StoreError("it is broken")


async def hangs() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("fault", "said"), [(fails, "it is broken"), (hangs, f"within {ASK_DEADLINE_S:g} s")])
def test_a_store_that_is_silent_for_too_long_is_not_there_and_comes_back(fault: Callable[[], Awaitable[None]], said):
    @virtual_time
    async def run():
        store = Faulty(fault)
        pulse = StorePulse(store, FakeClock())
        task = asyncio.ensure_future(pulse.run())
        await asyncio.sleep(SILENT_S - 1)
        assert pulse.why_not() is None
        await asyncio.sleep(SILENT_S)
        assert said in (pulse.why_not() or "")

        async def answers() -> None:
            pass

        store.fault = answers
        await asyncio.sleep(SILENT_S)
        assert pulse.why_not() is None
        task.cancel()
        await asyncio.wait({task})

    run()
