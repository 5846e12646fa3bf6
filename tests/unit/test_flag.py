"""A flag, as asyncio.Event."""

from __future__ import annotations

import asyncio

from runtime.host.flag import Flag
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_flag_that_is_set_lets_pass_at_once():
    await Flag(is_set=True).wait()


@virtual_time
async def test_all_that_wait_are_woken_also_when_it_is_cleared_at_once():
    flag = Flag()
    waiting = [asyncio.create_task(flag.wait()) for _ in range(3)]
    await asyncio.sleep(1)
    assert not any(task.done() for task in waiting)
    flag.set()
    flag.clear()
    await asyncio.sleep(0.1)
    assert all(task.done() for task in waiting)
    assert not flag.is_set()


@virtual_time
async def test_whoever_comes_after_it_was_cleared_waits_for_the_next_time():
    flag = Flag(is_set=True)
    flag.clear()
    late = asyncio.create_task(flag.wait())
    await asyncio.sleep(1)
    assert not late.done()
    flag.set()
    await late
    assert flag.is_set()


@virtual_time
async def test_one_that_is_cancelled_wakes_no_other():
    flag = Flag()
    first, second = (asyncio.create_task(flag.wait()) for _ in range(2))
    await asyncio.sleep(1)
    first.cancel()
    await asyncio.wait({first})
    assert not second.done()
    flag.set()
    await second
