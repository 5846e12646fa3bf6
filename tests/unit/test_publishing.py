"""Any history of frames, options and failing calls: in order, bounded, and nothing is missing in silence."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runtime.host.budget import UNBOUNDED, Budget
from runtime.host.publisher import CALL_MAX_BYTES, CALL_MAX_EVENTS
from runtime.models.events import FRAMES, Event
from tests.unit.faulty_publisher import Fault, FaultyPublisher, Kind
from tests.unit.stream import Number, Stage, Stream, envelopes_of, number_of, options_of, payload_of
from tests.virtual_time import virtual_time

EXAMPLES = int(os.environ.get("PUBLISHING_EXAMPLES", "300"))
IDS = ("a", "b", "c")
MALFORMED = "malformed"
PATIENCE_S = 3600.0  # of virtual time: more than all faults and pauses together
LATEST_S = 200.0  # after this what was published after its timeout has arrived
KIB = 1024

_id = st.sampled_from(IDS)
_options = st.fixed_dictionaries(
    {
        "delivery": st.sampled_from(["batch", "message"]),
        "batch_max_messages": st.sampled_from([1, 2, 3, 500]),
        "batch_max_bytes": st.sampled_from([1, 500, 900, 192 * KIB]),
        "raw_payload": st.booleans(),
        "overflow": st.sampled_from(["block", "drop_oldest"]),
        "queue_max_messages": st.sampled_from([1, 2, 5, 20]),
        "queue_max_bytes": st.sampled_from([KIB, 4 * KIB, 16 * KIB]),
    }
)
_fault = st.builds(
    Fault, st.sampled_from(Kind), st.sampled_from([0.0, 0.01, 0.2, 5.0, 70.0]), st.integers(0, 1_000_000)
)
_count, _seed = st.integers(1, 12), st.integers(0, 99)
_turn = st.one_of(
    st.tuples(st.just("topic"), st.sampled_from("tuv")),
    st.tuples(st.just("begin")),
    st.tuples(st.just("use"), _options),
    st.tuples(st.just("arrive"), st.sampled_from(["let_go", "forget_held"]), _count, st.sampled_from([0.0, 0.3])),
)
_step = st.one_of(
    *[st.tuples(st.just("frames"), _id, _count, _seed)] * 3,
    *[st.tuples(st.just("turn"), _id, _count, _turn, _count, _seed)] * 3,
    st.tuples(st.just("faults"), st.lists(_fault, min_size=1, max_size=6)),
    st.tuples(st.just("wait"), st.sampled_from([0.001, 0.05, 0.3, 3.0, 31.0])),
)
_world = st.fixed_dictionaries(
    {
        "lanes": st.integers(1, 3),
        "call_s": st.sampled_from([0.0, 0.02]),
        "keeps_order": st.booleans(),
        "limit_bytes": st.sampled_from([None, 1200, 600, 300]),
        "budget_bytes": st.sampled_from([UNBOUNDED, 8 * KIB, 2 * KIB, 1]),
        "options": st.lists(_options, min_size=len(IDS), max_size=len(IDS)),
    }
)


class History:
    """Plays steps on four connections, and knows what must be true at the end."""

    def __init__(self, world: dict[str, Any]) -> None:
        self.limit_bytes = world["limit_bytes"]
        shape = {key: world[key] for key in ("keeps_order", "lanes", "call_s")}
        publisher = FaultyPublisher(refuses=self._refuses, **shape)
        self.stage = Stage(publisher, world["lanes"], Budget(world["budget_bytes"]))
        self.sent = 0
        for id_, options in zip(IDS, world["options"], strict=True):
            self.stage.stream(id_, **options)

    def _refuses(self, event: Event) -> str | None:
        if self.limit_bytes is not None and len(event.data) > self.limit_bytes:
            return "too large"
        return MALFORMED if MALFORMED.encode() in event.data else None

    async def run(self, steps: list[tuple[Any, ...]]) -> None:
        streams = self.stage.streams.values()
        async with self.stage.running():
            for name, *details in steps:
                await getattr(self, f"_{name}")(*details)
                self.stage.check_budget()
            async with asyncio.timeout(PATIENCE_S):
                while any(stream.inbox for stream in streams):
                    await asyncio.sleep(1)
                for stream in streams:
                    await stream.queue.wait_until_empty()
            await asyncio.sleep(LATEST_S)

    # ---- steps

    async def _frames(self, id_: str, count: int, seed: int) -> None:
        messages: list[str | bytes] = []
        for number in range(seed, seed + count):
            self.sent += 1
            text = f"{self.sent} {MALFORMED if number % 37 == 0 else ''}" + "x" * (500 if number % 11 == 0 else 0)
            messages.append(text.encode() if number % 5 == 0 else text)
        self.stage.streams[id_].receive(*messages)
        await asyncio.sleep(0)

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _faults(self, faults: list[Fault]) -> None:
        self.stage.publisher.faults += faults

    async def _turn(self, id_: str, before: int, turn: tuple[Any, ...], after: int, seed: int) -> None:
        """Something that changes between two frames."""
        await self._frames(id_, before, seed)
        await getattr(self, f"_{turn[0]}")(self.stage.streams[id_], *turn[1:])
        await self._frames(id_, after, seed + before)

    async def _topic(self, stream: Stream, topic: str) -> None:
        stream.topic = topic

    async def _begin(self, stream: Stream) -> None:
        stream.begin()

    async def _use(self, stream: Stream, options: dict[str, Any]) -> None:
        stream.use(options_of(**options))

    async def _arrive(self, stream: Stream, end: str, count: int, within_s: float) -> None:
        stream.hold()
        await self._frames(stream.id, count, count)
        await asyncio.sleep(within_s)
        getattr(stream, end)()

    # ---- what must hold

    def check(self) -> None:
        stage = self.stage
        assert [stream.queue.size_bytes for stream in stage.streams.values()] == [0] * len(IDS)
        assert stage.budget.held_bytes == 0
        assert stage.publisher.most_in_flight <= stage.publisher.lanes
        self._check_order()
        self._check_numbers()
        self._check_content()
        self._check_repeats()

    def _check_order(self) -> None:
        last: dict[str, tuple[int, int]] = {}
        for id_, *place in self.stage.numbers():
            assert tuple(place) > last.get(id_, (0, 0)), f"{id_} {place} came too late"
            last[id_] = (place[0], place[1])

    def _check_numbers(self) -> None:
        stage = self.stage
        arrived, refused = set(stage.numbers()), set(stage.refused)
        missing = set(stage.read) - arrived - refused - stage.dropped - stage.forgotten
        assert not missing, f"missing in silence: {sorted(missing)}"
        assert not arrived & (refused | stage.dropped | stage.forgotten), "announced as a gap, or not to be published"
        assert not refused & stage.dropped, "two gaps for one frame"
        sent = {number_of(envelope) for call in stage.publisher.calls for e in call for envelope in envelopes_of(e)}
        assert not sent & stage.forgotten, "forgotten, and yet sent"

    def _check_content(self) -> None:
        events: dict[Number, str] = {}
        for event, envelopes in self.stage.arrived():
            numbers = [number_of(envelope) for envelope in envelopes]
            (id_, epoch, first), (_, _, last) = numbers[0], numbers[-1]
            assert numbers == [(id_, epoch, sequence) for sequence in range(first, last + 1)]
            assert event.id == f"{id_}.{epoch}.{first}" + (f"-{last}" if event.type == FRAMES else "")
            assert (event.subject, event.frames) == (id_, len(numbers))
            for number, envelope in zip(numbers, envelopes, strict=True):
                read = self.stage.read[number]
                assert (payload_of(envelope), event.topic) == (read.payload, read.topic)
                assert events.setdefault(number, event.id) == event.id, "one frame in two events"

    def _check_repeats(self) -> None:
        seen: dict[str, Event] = {}
        for call in self.stage.publisher.calls:
            assert self.stage.publisher.keeps_order or len({e.subject for e in call}) == len(call), "one each"
            for event in call:
                assert seen.setdefault(event.id, event) == event, "the same id with another content"


@settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(_world, st.lists(_step, min_size=5, max_size=40))
def test_whatever_fails_frames_arrive_in_order_within_bounds_and_none_is_missing_in_silence(
    world: dict[str, Any], steps: list[tuple[Any, ...]]
):
    @virtual_time
    async def run():
        history = History(world)
        await history.run(steps)
        history.check()

    run()


@virtual_time
async def test_what_was_dropped_before_a_hold_is_announced_though_all_that_was_held_is_forgotten():
    """Nothing may be left in the queue then whose publishing would bring it up."""
    stage = Stage(FaultyPublisher([Fault(Kind.IS_LATE)]))
    stream = stage.stream(overflow="drop_oldest", queue_max_messages=3)
    async with stage.running():
        stream.receive("in flight")
        await asyncio.sleep(1)
        stream.receive("2", "3")
        stream.read()
        stream.hold()
        stream.receive("held", "held", "held")
        stream.read()
        stream.forget_held()
        await stream.queue.wait_until_empty()
    assert stage.numbers() == [("a", 1, 1)]
    assert {("a", 1, 2), ("a", 1, 3)} <= stage.dropped
    assert stream.queue.oldest_received is None


@virtual_time
async def test_ready_connections_are_dealt_to_the_lanes_that_are_free():
    publisher = FaultyPublisher(lanes=3, call_s=1)
    stage = Stage(publisher, lanes=3)
    for number in range(10):
        stage.stream(str(number)).receive("x")
    for stream in stage.streams.values():
        stream.read()
    async with stage.running():
        await asyncio.sleep(0.5)
        assert [len(call) for call in publisher.calls] == [4, 4, 2]


@virtual_time
async def test_lanes_come_to_have_equal_shares_though_one_was_alone_at_first():
    publisher = FaultyPublisher(lanes=3, call_s=1)
    stage = Stage(publisher, lanes=3)
    streams = [stage.stream(str(number)) for number in range(12)]
    async with stage.running():
        for group in (streams[:1], streams[1:]):
            for stream in group:
                stream.receive(*"xyz")
                stream.read()
            await asyncio.sleep(0.1)
        await asyncio.sleep(4)
    assert [len(call) for call in publisher.calls] == [1, 4, 4, *[4] * 6, 3]


@pytest.mark.parametrize(("connections", "size"), [(CALL_MAX_EVENTS + 7, 1), (5, CALL_MAX_BYTES // 2)])
@virtual_time
async def test_what_one_call_has_no_room_for_goes_out_in_the_next_ones(connections: int, size: int):
    stage = Stage(FaultyPublisher())
    for number in range(connections):
        stage.stream(str(number)).receive("x" * size)
    for stream in stage.streams.values():
        stream.read()
    async with stage.running():
        await asyncio.sleep(1)
    assert len(stage.numbers()) == connections
    assert all(len(call) <= CALL_MAX_EVENTS for call in stage.publisher.calls)
    for call in stage.publisher.calls:
        assert sum(len(event.data) for event in call[:-1]) < CALL_MAX_BYTES
