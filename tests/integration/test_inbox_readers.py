"""Readers that are cancelled, or that make a mistake: what they have not taken is there for the next one."""

from __future__ import annotations

import asyncio
from collections import deque
from random import Random

import pytest

from tests.dialling import connected, never
from tests.loops import on_both_loops
from tests.peers import TEXT, Talk, frame, until
from tests.reading import Reader, mixed_messages, on_the_wire

pytestmark = pytest.mark.integration
Messages = deque[str | bytes]


@on_both_loops
async def test_a_read_that_is_cancelled_at_any_moment_loses_nothing_for_the_next_one():
    chance = Random(1)
    messages = list(mixed_messages(chance, 2000))

    async def talk(talk: Talk) -> None:
        for message in messages:
            await talk.write(on_the_wire(chance, message))
            if chance.random() < 0.2:
                await asyncio.sleep(0)
        await talk.until_gone()

    async with connected(talk) as (live, _):
        reader = Reader(live, lambda: chance.choice([1, 1, 3, 20]))
        reads = 0
        async with asyncio.timeout(60):
            while len(reader.taken) < len(messages):
                reading = asyncio.create_task(reader.run())
                for _ in range(chance.randint(0, 6)):
                    await asyncio.sleep(0)
                reading.cancel()
                await asyncio.wait({reading})
                assert reading.cancelled(), reading
                reads += 1
        assert reader.taken == messages
        assert reads > 10


@pytest.mark.parametrize("is_late", [False, True], ids=["what was there", "what comes later"])
@on_both_loops
async def test_a_mistake_in_taking_is_raised_to_the_reader_and_costs_neither_socket_nor_message(is_late):
    said: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    go = asyncio.Event()

    async def talk(talk: Talk) -> None:
        if is_late:
            await go.wait()
        await talk.write(frame(TEXT, b"1") + frame(TEXT, b"2"))
        await talk.until_closed()

    def mistake(messages: Messages) -> None:
        raise ZeroDivisionError

    async with connected(talk) as (live, _):
        await asyncio.sleep(0.1)
        asyncio.get_running_loop().call_later(0.1, go.set)
        async with asyncio.timeout(20):
            with pytest.raises(ZeroDivisionError):
                await live.receive(mistake, never)
        reader = Reader(live, lambda: 1)
        reading = asyncio.create_task(reader.run())
        await until(lambda: len(reader.taken) == 2, "both are taken")
        assert reader.taken == ["1", "2"]
        assert not reading.done()
        reading.cancel()
        await asyncio.wait({reading})
    assert said == []


@on_both_loops
async def test_a_mistake_is_raised_though_it_has_left_nothing_to_take():
    go = asyncio.Event()

    async def talk(talk: Talk) -> None:
        await go.wait()
        await talk.write(frame(TEXT, b"1"))
        await talk.until_closed()

    def mistake(messages: Messages) -> None:
        messages.clear()
        raise ZeroDivisionError

    async with connected(talk) as (live, _):
        asyncio.get_running_loop().call_later(0.1, go.set)
        async with asyncio.timeout(20):
            with pytest.raises(ZeroDivisionError):
                await live.receive(mistake, never)


@on_both_loops
async def test_what_comes_after_a_read_was_cancelled_is_for_the_next_one():
    go = asyncio.Event()

    async def talk(talk: Talk) -> None:
        await go.wait()
        await talk.write(frame(TEXT, b"1"))
        await talk.until_closed()

    async with connected(talk) as (live, _):
        first, second = Reader(live, lambda: 1), Reader(live, lambda: 1)
        for reader in (first, second):
            reading = asyncio.create_task(reader.run())
            await asyncio.sleep(0)
            if reader is second:
                await until(lambda: second.taken, "the message is taken")
            reading.cancel()
            await asyncio.wait({reading})
            go.set()
            await asyncio.sleep(0.1)
        assert (first.taken, second.taken) == ([], ["1"])
