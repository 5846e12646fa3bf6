"""One suite for the DeadLetters port, run on every implementation."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from runtime.adapters.clock import SystemClock
from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.dead_letters import INDEX_KEY, LETTER_PREFIX, PIECE_BYTES, KeptDeadLetters
from runtime.adapters.dapr.deliveries import Delivery
from runtime.adapters.dapr.store import DaprStore
from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.adapters.memory.dead_letters import MemoryDeadLetters
from runtime.adapters.memory.publisher import MemoryPublisher
from runtime.adapters.memory.store import MemoryStore
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import Event
from runtime.models.wire import WireTime
from runtime.ports import DeadLetters, StateStore
from runtime.records import Records
from tests.contract.sidecars import Prefixed
from tests.embedded import Observed
from tests.sidecar import Sidecar

NOW = "2026-01-31T12:00:00.000000Z"


def letter(id_: str, reason: str = "because") -> DeadLetter:
    event = Event(id_, "t", "type", "a", NOW, b"\xff\x00", "image/png", "/shop")
    return DeadLetter.of(event, reason, WireTime.parse(NOW))


Bury = Callable[[DeadLetter], Awaitable[None]]


def kept(store: StateStore, observed: Observed | None = None, **bounds: int) -> KeptDeadLetters:
    clock = SystemClock()
    return KeptDeadLetters(store, Records(store, clock, random.random), clock, observed or Observed(), **bounds)


def arriving(event: Event) -> Delivery:
    return Delivery(event._replace(topic="dead"), event.topic)


def bury_in(letters: KeptDeadLetters) -> Bury:
    return lambda dead: letters.receive(arriving(dead.carried_to("dead")))


@pytest.fixture(params=["memory", "file", "store", "redis", "postgres", "dynamodb"])
async def port(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[DeadLetters, Bury]]:
    if request.param == "memory":
        publisher = MemoryPublisher()
        yield MemoryDeadLetters(publisher), lambda dead: publisher.publish_many([dead.event, dead.carried_to("dead")])
    elif request.param == "file":
        file = DeadLetterFile(tmp_path / "dead-letters.jsonl")
        yield file, lambda dead: file.add(dead.carried_to("dead").data)
    elif request.param == "store":
        letters = kept(MemoryStore())
        yield letters, bury_in(letters)
    else:
        sidecar: Sidecar = request.getfixturevalue("stores_sidecar")
        channel = Channel(f"127.0.0.1:{sidecar.grpc_port}", None)
        letters = kept(Prefixed(DaprStore(channel, request.param)))
        yield letters, bury_in(letters)
        await channel.close()


async def test_what_was_buried_is_read_whole_the_oldest_first(port: tuple[DeadLetters, Bury]):
    letters, bury = port
    assert await letters.read() == []
    for id_ in "bac":
        await bury(letter(id_))
    assert await letters.read() == [letter("b"), letter("a"), letter("c")]


async def test_only_those_that_are_named_are_taken_out(port: tuple[DeadLetters, Bury]):
    letters, bury = port
    for reason in ("first", "second", "third"):
        await bury(letter("a", reason))
    await letters.remove([letter("a", "second"), letter("nobody")])
    assert [found.reason for found in await letters.read()] == ["first", "third"]
    await letters.remove([])
    await letters.remove([letter("a", "first"), letter("a", "third")])
    assert await letters.read() == []
    await bury(letter("a", "first"))
    assert [found.reason for found in await letters.read()] == ["first"]


@pytest.mark.parametrize("kind", ["memory", "file"])
async def test_of_letters_that_are_the_same_as_many_are_taken_out_as_are_named(kind: str, tmp_path: Path):
    publisher, file = MemoryPublisher(), DeadLetterFile(tmp_path / "dead-letters.jsonl")
    letters: DeadLetters = MemoryDeadLetters(publisher) if kind == "memory" else file
    for reason in ("first", "same", "same", "same"):
        carrier = letter("a", reason).carried_to("dead")
        await (publisher.publish_many([carrier]) if kind == "memory" else file.add(carrier.data))
    await letters.remove([letter("a", "same"), letter("a", "same"), letter("nobody")])
    assert [found.reason for found in await letters.read()] == ["first", "same"]


async def test_a_letter_that_a_broker_delivers_again_is_kept_once():
    letters = kept(MemoryStore())
    given_up = Event("1", "t", "type", "a", NOW, b"{}", source="/shop")
    for _ in range(2):
        await bury_in(letters)(letter("a"))
        await letters.receive(arriving(given_up))
    assert [found.id for found in await letters.read()] == ["a", "1"]


async def test_an_event_that_the_sidecar_gave_up_becomes_a_letter_with_its_first_topic():
    letters = kept(MemoryStore())
    given_up = Event("1", "websocket-commands", "type", "a", NOW, b"\xff", "image/png", "/shop")
    await letters.receive(arriving(given_up))
    (found,) = await letters.read()
    assert found.event == given_up
    assert found.reason == "not handled after all retries"


async def test_what_calls_itself_a_letter_and_is_none_is_kept_as_the_event_that_it_is():
    letters = kept(MemoryStore())
    foreign = letter("a").carried_to("dead")._replace(data=b'{"reason":1}')
    await letters.receive(arriving(foreign))
    (found,) = await letters.read()
    assert (found.topic, found.event.data) == ("dead", foreign.data)


async def test_a_large_letter_is_kept_in_pieces_and_removed_whole():
    store = MemoryStore()
    letters = kept(store)
    large = DeadLetter.of(Event("1", "t", "type", "a", NOW, b"x" * 2 * PIECE_BYTES), "large", WireTime.parse(NOW))
    await bury_in(letters)(large)
    assert await letters.read() == [large]
    assert len(store.values) == 4
    assert max(len(stored.value) for stored in store.values.values()) == PIECE_BYTES
    await letters.remove([large])
    assert list(store.values) == [INDEX_KEY]


async def test_beyond_a_number_or_a_size_the_oldest_go_with_a_line_in_the_log():
    store, observed = MemoryStore(), Observed()
    letters = kept(store, observed, max_letters=3, max_bytes=1_000)
    for id_ in "abcd":
        await bury_in(letters)(letter(id_))
    assert [found.id for found in await letters.read()] == ["b", "c", "d"]
    assert observed.warnings == [("dead_letters_dropped", {"count": 1, "max_letters": 3, "max_bytes": 1_000})]
    large = DeadLetter.of(Event("e", "t", "type", "a", NOW, b"x" * 2_000), "large", WireTime.parse(NOW))
    await bury_in(letters)(large)
    assert [found.id for found in await letters.read()] == ["e"]
    assert len([key for key in store.values if key.startswith(LETTER_PREFIX)]) == 1


async def test_a_letter_that_is_half_gone_is_passed_over():
    store = MemoryStore()
    letters = kept(store)
    for id_ in "ab":
        await bury_in(letters)(letter(id_))
    del store.values[next(key for key in store.values if key.startswith(LETTER_PREFIX))]
    assert [found.id for found in await letters.read()] == ["b"]
