"""The tail: each reader is bounded and told what it lost, and nobody waits for it."""

from __future__ import annotations

import asyncio

import pytest

from runtime.adapters.embedded.tail import MAX_BYTES, MAX_LINES, Tail
from tests.virtual_time import virtual_time

ALL: frozenset[str] = frozenset()


def new_tail() -> Tail:
    return Tail(lambda lost: b"lost %d" % lost)


async def all_of(reader) -> list[bytes]:
    found = []
    while document := await reader.next(1):
        found.append(document)
    return found


@virtual_time
async def test_documents_come_in_order_and_only_of_the_topics_that_were_asked_for():
    tail = new_tail()
    with tail.subscribe(ALL) as everything, tail.subscribe(frozenset({"a", "c"})) as some:
        for topic in "abcab":
            tail.offer(topic, topic.encode())
        assert await all_of(everything) == [b"a", b"b", b"c", b"a", b"b"]
        assert await all_of(some) == [b"a", b"c", b"a"]


@virtual_time
async def test_a_slow_reader_loses_lines_is_told_how_many_and_the_others_lose_none():
    tail = new_tail()
    with tail.subscribe(ALL) as slow, tail.subscribe(ALL) as quick:
        for number in range(MAX_LINES + 7):
            tail.offer("t", b"%d" % number)
            assert await quick.next(1) == b"%d" % number
        assert await slow.next(1) == b"0"
        tail.offer("t", b"after")
        seen = await all_of(slow)
    assert seen == [*(b"%d" % number for number in range(1, MAX_LINES)), b"lost 7", b"after"]


@virtual_time
async def test_a_reader_that_has_caught_up_is_told_of_its_loss_without_waiting_for_the_next_event():
    tail = new_tail()
    with tail.subscribe(ALL) as reader:
        for _ in range(MAX_LINES + 1):
            tail.offer("t", b"x")
        seen = await all_of(reader)
    assert (len(seen), seen[-1]) == (MAX_LINES + 1, b"lost 1")


@virtual_time
async def test_a_reader_is_bounded_in_bytes_but_one_large_document_passes():
    tail = new_tail()
    with tail.subscribe(ALL) as reader:
        tail.offer("t", b"x" * (MAX_BYTES + 1))
        tail.offer("t", b"lost")
        assert len(await reader.next(1) or b"") == MAX_BYTES + 1
        assert await all_of(reader) == [b"lost 1"]
        tail.offer("t", b"x")
        assert await reader.next(1) == b"x"


@virtual_time
async def test_a_reader_that_waits_in_vain_gets_an_empty_line_and_loses_nothing_by_it():
    tail = new_tail()
    loop = asyncio.get_running_loop()
    with tail.subscribe(ALL) as reader:
        before = loop.time()
        assert await reader.next(15) == b""
        assert loop.time() - before == pytest.approx(15)
        loop.call_later(14.999999, tail.offer, "t", b"just in time")
        seen = [await reader.next(15), await reader.next(15)]
        assert b"just in time" in seen


@virtual_time
async def test_a_cancelled_wait_takes_nothing_with_it():
    tail = new_tail()
    with tail.subscribe(ALL) as reader:
        waiting = asyncio.create_task(reader.next(15))
        await asyncio.sleep(1)
        tail.offer("t", b"kept")
        waiting.cancel()
        await asyncio.wait({waiting})
        assert await reader.next(1) == b"kept"


@virtual_time
async def test_a_tail_that_closes_ends_its_readers_after_what_they_have():
    tail = new_tail()
    with tail.subscribe(ALL) as waiting, tail.subscribe(ALL) as behind:
        next_one = asyncio.create_task(waiting.next(15))
        await asyncio.sleep(0)
        tail.offer("t", b"last")
        assert await next_one == b"last"
        next_one = asyncio.create_task(waiting.next(15))
        await asyncio.sleep(0)
        tail.close()
        assert await next_one is None
        assert [await behind.next(15), await behind.next(15)] == [b"last", None]
    with tail.subscribe(ALL) as late:
        assert await late.next(15) is None


@virtual_time
async def test_a_reader_that_has_left_is_forgotten():
    tail = new_tail()
    with tail.subscribe(ALL):
        before = tail.has_readers
    assert (before, tail.has_readers) == (True, False)
    tail.offer("t", b"nobody")
