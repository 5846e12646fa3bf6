"""What is promised of `delivery: batch`: bounds, order, ids, content, repeats, and a batch that is refused."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import nullcontext

import pytest

from runtime.adapters.memory.publisher import MemoryPublisher
from runtime.adapters.metrics import PrometheusMeters
from runtime.errors import EventRefusedError, PublishError
from runtime.host.metered import MeteredPublisher
from runtime.models.envelope import MessageEnvelope
from runtime.models.events import FRAMES, CloudEventEncoder, Event
from tests.unit.faulty_publisher import Fault, FaultyPublisher, Kind
from tests.unit.stream import Stage, envelopes_of, ids, options_of, payload_of, published, texts
from tests.virtual_time import FakeClock, virtual_time

SLOW = Fault(Kind.ACCEPTED, 1.0)


# ---- what is in one


@virtual_time
async def test_a_batch_is_bounded_in_frames():
    stage = Stage(FaultyPublisher())
    events = await published(stage, *texts(1, 8), batch_max_messages=3)
    assert [event.id for event in events] == ["a.1.1-3", "a.1.4-6", "a.1.7-8"]


@pytest.mark.parametrize(("spare", "frames"), [(0, 3), (-1, 2)])
@virtual_time
async def test_a_batch_is_bounded_in_bytes_and_filled_up_to_them(spare: int, frames: int):
    (alone,) = await published(Stage(FaultyPublisher()), "x", delivery="message")
    three = 3 * (len(alone.data) + len(","))
    events = await published(Stage(FaultyPublisher()), *"x" * 9, batch_max_bytes=three + spare)
    assert [event.frames for event in events] == [frames] * (9 // frames) + [1] * (9 % frames)
    assert all(len(event.data) - 1 <= three + spare for event in events)


@virtual_time
async def test_a_frame_that_is_larger_than_a_batch_may_be_travels_alone():
    stage = Stage(FaultyPublisher())
    await published(stage, "1", "2", "3" * 5000, "4", "5" * 5000, "6" * 5000, batch_max_bytes=1000)
    assert ids(stage) == ["a.1.1-2", "a.1.3-3", "a.1.4-4", "a.1.5-5", "a.1.6-6"]


@virtual_time
async def test_a_batch_never_mixes_topics():
    stage = Stage(FaultyPublisher())
    stream = stage.stream(delivery="batch")
    stream.receive("1", "2")
    stream.read()
    stream.topic = "u"
    stream.receive("3")
    async with stage.running():
        await asyncio.sleep(1)
    assert [(event.id, event.topic) for event in stage.publisher.arrived] == [("a.1.1-2", "t"), ("a.1.3-3", "u")]


@virtual_time
async def test_a_batch_never_mixes_epochs():
    stage = Stage(FaultyPublisher())
    stream = stage.stream(delivery="batch")
    stream.receive("1", "2")
    stream.read()
    stream.begin()
    stream.receive("3")
    async with stage.running():
        await asyncio.sleep(1)
    assert ids(stage) == ["a.1.1-2", "a.2.1-1"]


@virtual_time
async def test_a_batch_never_mixes_connections():
    stage = Stage(FaultyPublisher())
    for id_ in "abc":
        stage.stream(id_, delivery="batch").receive("1", "2")
    async with stage.running():
        await asyncio.sleep(1)
    assert sorted(ids(stage)) == ["a.1.1-2", "b.1.1-2", "c.1.1-2"]


@virtual_time
async def test_a_batch_does_not_reach_over_a_hold():
    stage = Stage(FaultyPublisher())
    stream = stage.stream(delivery="batch")
    stream.receive("1", "2")
    stream.read()
    stream.queue.hold()
    stream.receive("3", "4")
    async with stage.running():
        await asyncio.sleep(1)
        assert ids(stage) == ["a.1.1-2"]
        stream.queue.let_go()
        await asyncio.sleep(1)
    assert ids(stage) == ["a.1.1-2", "a.1.3-4"]


@virtual_time
async def test_its_data_is_an_array_of_envelopes_as_they_are_published_alone():
    payloads: list[str | bytes] = ["text", 'with "quotes" and ünïcode \u0000', b"\x00\xff", ""]
    stages = [Stage(FaultyPublisher()) for _ in range(2)]
    for stage, delivery in zip(stages, ["message", "batch"], strict=True):
        stream = stage.stream(delivery=delivery)
        stream.receive(*payloads)
        stream.read()
    for stage in stages:
        async with stage.running():
            await asyncio.sleep(1)
    alone, (event,) = [stage.publisher.arrived for stage in stages]
    assert event.data == b"[%b]" % b",".join(one.data for one in alone)
    read = [MessageEnvelope.read(envelope) for envelope in json.loads(event.data)]
    assert event.data == b"[%b]" % b",".join(envelope.to_json() for envelope in read)
    assert [payload_of(envelope) for envelope in envelopes_of(event)] == payloads
    assert [(envelope.websocket_id, envelope.epoch, envelope.sequence) for envelope in read] == [
        ("a", 1, sequence) for sequence in (1, 2, 3, 4)
    ]


@virtual_time
async def test_it_is_an_event_of_its_own_type_whose_subject_is_the_connection_and_whose_time_is_of_its_last_frame():
    stage = Stage(FaultyPublisher())
    stream = stage.stream(delivery="batch")
    stream.receive("1")
    stream.read()
    await asyncio.sleep(5)
    stream.receive("2")
    async with stage.running():
        await asyncio.sleep(1)
    (event,) = stage.publisher.arrived
    assert (event.type, event.subject, event.frames) == (FRAMES, "a", 2)
    assert event.time == "2026-01-01T00:00:05.000000Z" == json.loads(event.data)[-1]["timestamp"]


@pytest.mark.parametrize("delivery", ["batch", "message"])
@virtual_time
async def test_a_raw_payload_is_published_without_an_envelope_of_the_broker(delivery):
    (event,) = await published(Stage(FaultyPublisher()), "1", delivery=delivery, raw_payload=True)
    said = json.loads(CloudEventEncoder("source", "pubsub").published(event))
    assert event.is_raw
    (envelope,) = said if delivery == "batch" else [said]
    assert envelope == MessageEnvelope.read(envelope).to_wire()


# ---- when one is made


@virtual_time
async def test_a_single_frame_goes_out_at_once():
    stage = Stage(FaultyPublisher())
    stream = stage.stream(delivery="batch")
    async with stage.running():
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        stream.receive("1")
        while not stage.publisher.arrived:
            await asyncio.sleep(0)
        assert asyncio.get_running_loop().time() == began
    assert ids(stage) == ["a.1.1-1"]


@virtual_time
async def test_all_that_has_gathered_during_a_call_goes_out_in_the_next_one():
    stage = Stage(FaultyPublisher([SLOW]))
    stream = stage.stream(delivery="batch")
    async with stage.running():
        for number in range(1, 8):
            stream.receive(str(number))
            await asyncio.sleep(0.1)
        await asyncio.sleep(10)
    assert ids(stage) == ["a.1.1-1", "a.1.2-7"]


@virtual_time
async def test_new_options_hold_from_the_next_event():
    stage = Stage(FaultyPublisher([Fault(Kind.TIMES_OUT)]))
    stream = stage.stream(delivery="batch", raw_payload=True)
    async with stage.running():
        stream.receive("1", "2")
        await asyncio.sleep(1)
        stream.use(options_of(delivery="message"))
        stream.receive("3", "4")
        await asyncio.sleep(100)
    assert ids(stage) == ["a.1.1-2", "a.1.1-2", "a.1.3", "a.1.4"]
    assert [event.is_raw for event in stage.publisher.arrived] == [True, True, False, False]


# ---- when it fails


@pytest.mark.parametrize("kind", [Kind.FAILS_AT_ONCE, Kind.TIMES_OUT, Kind.FAILS_HALFWAY, Kind.IS_LATE])
@virtual_time
async def test_what_was_sent_once_stays_as_it_is_whatever_comes_in_between(kind):
    stage = Stage(FaultyPublisher([Fault(kind, 0.5)] * 3))
    stream = stage.stream(delivery="batch")
    async with stage.running():
        for number in range(1, 21):
            stream.receive(str(number))
            await asyncio.sleep(0.01)
        await asyncio.sleep(300)
    first, *repeats = stage.publisher.calls[:4]
    assert [event.id for event in first] == ["a.1.1-1"]
    assert repeats == [first] * 3
    assert stage.numbers() == [("a", 1, sequence) for sequence in range(1, 21)]


# ---- how it is counted


@pytest.mark.parametrize(
    ("error", "frames"),
    [
        (None, 18),
        (PublishError("away"), 0),
        (PublishError("cut off", published=2), 13),
        (EventRefusedError("too large", index=1), 10),
    ],
    ids=["all", "none", "some", "until one is refused"],
)
@virtual_time
async def test_the_meters_count_frames_and_not_events(error: Exception | None, frames: int):
    meters = PrometheusMeters({"version": "1"}, lambda: 0.5)

    async def fail(events: Sequence[Event]) -> None:
        if error is not None:
            raise error

    publisher = MeteredPublisher(MemoryPublisher(fail), meters, FakeClock(), "frame")
    events = [Event(str(count), "t", FRAMES, "a", "", b"[]", frames=count) for count in (10, 3, 5)]
    with pytest.raises(type(error)) if error is not None else nullcontext():
        await publisher.publish_many(events)
    assert f"wsm_frames_published_total {frames:.1f}" in meters.text().decode()
