"""What waits in a task can be ended by others, without a task of its own."""

from __future__ import annotations

import asyncio

import pytest

from runtime.host.interruptible import Interruptible
from tests.virtual_time import virtual_time


@virtual_time
async def test_what_ends_by_itself_returns_or_raises_what_it_has():
    work = Interruptible()
    assert await work.run(asyncio.sleep(1, "done")) == "done"
    with pytest.raises(TimeoutError, match="its own"):
        await work.run(_failing(TimeoutError("its own")))


@virtual_time
async def test_an_interruption_ends_it_with_nothing_and_cancels_nobody():
    work = Interruptible()
    task = asyncio.create_task(work.run(asyncio.sleep(60, "done")))
    await asyncio.sleep(1)
    work.interrupt()
    assert await task is None
    assert not task.cancelling()


@virtual_time
async def test_a_second_interruption_leaves_it_the_time_that_it_takes_to_end():
    work, steps = Interruptible(), list[str]()

    async def slow_to_end() -> str:
        try:
            return await asyncio.sleep(60, "done")
        finally:
            await asyncio.sleep(5)
            steps.append("closed")

    task = asyncio.create_task(work.run(slow_to_end()))
    for _ in range(3):
        await asyncio.sleep(1)
        work.interrupt()
    assert await task is None
    assert steps == ["closed"]


@virtual_time
async def test_a_cancellation_from_outside_stays_one_also_when_it_meets_an_interruption():
    for interrupts in (False, True):
        work = Interruptible()
        task = asyncio.create_task(work.run(asyncio.sleep(60)))
        await asyncio.sleep(1)
        if interrupts:
            work.interrupt()
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()


@virtual_time
async def test_an_interruption_while_nothing_runs_is_none_of_what_runs_later():
    work = Interruptible()
    work.interrupt()
    assert await work.run(asyncio.sleep(1, "done")) == "done"
    work.interrupt()
    assert await work.run(asyncio.sleep(1, "again")) == "again"


@virtual_time
async def test_a_result_that_is_there_at_the_moment_of_the_interruption_counts():
    work = Interruptible()

    async def stubborn() -> str:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "done all the same"
        return "never"

    task = asyncio.create_task(work.run(stubborn()))
    await asyncio.sleep(1)
    work.interrupt()
    assert await task == "done all the same"


async def _failing(error: Exception) -> None:
    raise error
