"""Callbacks spread over turns of the event loop."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from runtime.adapters.turns import Turns
from tests.virtual_time import virtual_time


@virtual_time
async def test_all_are_called_in_order_and_not_before_the_next_turn():
    turns, called = Turns(2), list[int]()
    for number in range(7):
        turns.call(partial(called.append, number))
    assert not called
    await _turn(10)
    assert called == list(range(7))


@virtual_time
async def test_no_turn_has_more_than_so_many_also_when_more_come_meanwhile():
    turns, called, counts = Turns(2), list[int](), list[int]()
    for number in range(5):
        turns.call(partial(called.append, number))
    for _ in range(6):
        before = len(called)
        await _turn()
        counts.append(len(called) - before)
        if len(counts) == 1:
            turns.call(partial(called.append, 5))
    assert counts == [2, 2, 2, 0, 0, 0]


@virtual_time
async def test_what_a_callback_asks_for_comes_after_all_others():
    turns, called = Turns(2), list[str]()
    turns.call(lambda: turns.call(partial(called.append, "asked for")))
    for name in ("a", "b"):
        turns.call(partial(called.append, name))
    await _turn(5)
    assert called == ["a", "b", "asked for"]


@virtual_time
async def test_one_that_fails_stops_no_other():
    turns, called, told = Turns(2), list[int](), list[dict[str, Any]]()
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
    turns.call(lambda: 1 / 0)
    for number in range(3):
        turns.call(partial(called.append, number))
    await _turn(5)
    assert called == [0, 1, 2]
    assert [type(context["exception"]) for context in told] == [ZeroDivisionError]


async def _turn(count: int = 1) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
