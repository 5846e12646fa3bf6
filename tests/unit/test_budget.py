"""What all queues of a process may hold together, and what becomes of their readers when it is spent."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from runtime.host.budget import Budget
from runtime.models.limits import Limits
from runtime.models.options import MIB
from tests.unit.faulty_publisher import Fault, FaultyPublisher, Kind
from tests.unit.stream import Stage
from tests.unit.world import World
from tests.virtual_time import virtual_time

AWAY = Fault(Kind.FAILS_AT_ONCE)


def a_stage(frames: int, *, away: int = 0, lanes: int = 1) -> Stage:
    """A budget for so many frames of one character, and a broker that is away for so many calls."""
    measured = Stage(FaultyPublisher()).stream()
    measured.receive("x")
    measured.read()
    return Stage(FaultyPublisher([AWAY] * away, lanes=lanes), lanes, Budget(frames * measured.largest))


def read(stage: Stage) -> dict[str, int]:
    """How many messages of each connection are numbered."""
    return {id_: stream.publisher.sequence for id_, stream in stage.streams.items()}


@virtual_time
async def test_a_spent_budget_pauses_every_reader_and_each_may_hold_one_message():
    stage = a_stage(10)
    for id_ in "abc":
        stage.stream(id_).receive(*"x" * 100)
    for stream in stage.streams.values():
        stream.read()
    assert read(stage) == {"a": 10, "b": 1, "c": 1}
    assert all(stream.queue.is_full for stream in stage.streams.values())
    for stream in stage.streams.values():
        stream.read()
    assert read(stage) == {"a": 10, "b": 1, "c": 1}


@virtual_time
async def test_paused_readers_read_on_when_there_is_room_and_all_is_published():
    stage = a_stage(10, away=20)
    for id_ in "abc":
        stage.stream(id_).receive(*(str(number % 10) for number in range(100)))
    async with stage.running():
        await asyncio.sleep(10)
        assert sum(read(stage).values()) <= 12
        await asyncio.sleep(300)
    assert read(stage) == {"a": 100, "b": 100, "c": 100}
    assert len(stage.numbers()) == 300
    assert stage.budget.held_bytes == 0


@virtual_time
async def test_a_connection_whose_queue_is_stuck_keeps_no_other_from_publishing():
    stage = a_stage(10)
    stuck, other = stage.stream("a"), stage.stream("b")
    stuck.hold()
    stuck.receive(*"x" * 100)
    stuck.read()
    other.receive(*"y" * 20)
    async with stage.running():
        await asyncio.sleep(60)
        assert read(stage) == {"a": 10, "b": 20}
        assert [number for number in stage.numbers() if number[0] == "b"] == [("b", 1, n) for n in range(1, 21)]
        stuck.let_go()
        await asyncio.sleep(60)
    assert read(stage)["a"] == 100
    assert len(stage.numbers()) == 120


@virtual_time
async def test_what_is_forgotten_wakes_those_who_wait_for_room():
    stage = a_stage(10)
    held, other = stage.stream("a"), stage.stream("b")
    held.hold()
    held.receive(*"x" * 10)
    held.read()
    other.receive(*"y")
    other.read()
    other.receive(*"y")
    other.read()
    assert len(other.inbox) == 1
    waiting = asyncio.create_task(other.queue.wait_for_room())
    await asyncio.sleep(1)
    assert not waiting.done()
    held.forget_held()
    await asyncio.sleep(0.001)
    assert waiting.done()


@virtual_time
async def test_those_who_wait_longest_look_first():
    stage = a_stage(4)
    for id_ in "abc":
        stage.stream(id_).receive(*"x" * 5)
        stage.streams[id_].read()
    woken: list[str] = []

    async def wait(id_: str) -> None:
        await stage.streams[id_].queue.wait_for_room()
        woken.append(id_)

    waiting = []
    for id_ in ("c", "b"):
        waiting.append(asyncio.create_task(wait(id_)))
        await asyncio.sleep(1)
    stage.streams["a"].queue.take(100, MIB, of_one=100)
    stage.streams["a"].queue.release()
    await asyncio.sleep(0.001)
    assert woken == ["c", "b"]
    await asyncio.wait(waiting)


@virtual_time
async def test_a_reader_that_is_cancelled_while_it_waits_is_not_called_back():
    stage = a_stage(1)
    stream = stage.stream()
    stream.receive(*"xx")
    stream.read()
    waiting = asyncio.create_task(stream.queue.wait_for_room())
    await asyncio.sleep(1)
    assert len(stage.budget._waiting) == 1
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert not stage.budget._waiting


@virtual_time
async def test_a_queue_that_drops_its_oldest_drops_its_own_and_says_so():
    stage = a_stage(10)
    stage.stream("a").receive(*"x" * 10)
    dropping = stage.stream("b", overflow="drop_oldest")
    stage.streams["a"].read()
    dropping.receive(*"0123456789")
    dropping.read()
    assert read(stage) == {"a": 10, "b": 10}
    assert len(dropping.queue) == 1
    async with stage.running():
        await asyncio.sleep(60)
    assert stage.dropped == {("b", 1, sequence) for sequence in range(1, 10)}
    assert sorted(stage.numbers()) == [*(("a", 1, sequence) for sequence in range(1, 11)), ("b", 1, 10)]


@virtual_time
async def test_a_queue_that_drops_its_oldest_holds_one_in_flight_and_one_more_when_nothing_more_may_be_held():
    stage = a_stage(10, away=5)
    stage.stream("a").receive(*"x" * 10)
    dropping = stage.stream("b", overflow="drop_oldest")
    async with stage.running():
        for _ in range(50):
            dropping.receive("y")
            await asyncio.sleep(0.01)
            assert len(dropping.queue) <= 2
            stage.check_budget()
        await asyncio.sleep(60)
    assert len(stage.numbers()) + len(stage.dropped) == 60


@pytest.mark.parametrize("overflow", ["block", "drop_oldest"])
@virtual_time
async def test_a_host_gives_all_its_connections_one_budget(overflow: str):
    async with World().running() as world:
        world.host._queues.budget.max_bytes = 20_000
        gate = asyncio.Event()

        async def wait(events: object) -> None:
            await gate.wait()

        sockets = [await world.connect(id_, options={"overflow": overflow}) for id_ in "abcd"]
        world.publisher.before = wait
        for _ in range(100):
            for socket in sockets:
                socket.push("x" * 100)
            await asyncio.sleep(0.01)
        queued = sum(keeper.life.vitals().queued_bytes for keeper in world.host.keepers.values())
        assert queued == world.host._queues.budget.held_bytes
        assert 19_000 < queued < 20_000 + 4 * 700
        world.publisher.before = None
        gate.set()
        await world.settle(10)
        dropped = sum(gap["toSequence"] - gap["fromSequence"] + 1 for gap in world.data("gap"))
        assert len(world.data("frame")) + dropped == 400
        assert (dropped > 0) == (overflow == "drop_oldest")
        assert world.host._queues.budget.held_bytes == 0


def test_the_largest_sum_is_known_beforehand_and_grows_with_what_is_allowed():
    small = Limits(max_connections=1000, queues_max_bytes=256 * MIB).memory_bound_mib()
    assert (small["queues"], small["total"]) == (256, sum(small.values()) - small["total"])
    assert Limits(max_connections=17_000).memory_bound_mib()["connections"] == small["connections"] + 1000
