"""What each broker promises a subscriber, as our component sets have it: the table of docs/guarantees.md."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from runtime.errors import PublishError, StoreError
from runtime.models.events import Event
from tests.contract.publishers import event
from tests.contract.subscribers import SETS, TRIES, named, subscribed
from tests.peers import until

pytestmark = pytest.mark.integration

IN_ORDER = {"jetstream", "kafka", "in-memory"}
FORGETS_WHAT_IS_REFUSED = {"redis", "in-memory"}
FORGETS_WITH_THE_SIDECAR = {"in-memory"}
LONG_ENOUGH_S = 5  # more than the time after which a broker gives out again what was not acknowledged


@pytest.fixture(params=SETS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


async def test_a_slow_event_is_overtaken_by_the_next_of_its_connection_save_on_jetstream_kafka_and_in_memory(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
):
    second = asyncio.Event()

    async def take(event: Event) -> None:
        if named([event]) == ["second"]:
            second.set()
        else:
            async with asyncio.timeout(0.5 if kind in IN_ORDER else 30):
                await second.wait()

    async with subscribed(kind, request, tmp_path, take) as subscriber, asyncio.TaskGroup() as group:
        group.create_task(subscriber.publish("first", "second"))
        await subscriber.until_taken("second")
        # The first one, which waits for the second, was not given up and tried anew.
        is_overtaken = named(subscriber.tried).count("first") == 1
    assert is_overtaken == (kind not in IN_ORDER)


async def test_what_is_refused_is_tried_again_and_then_a_dead_letter_and_others_go_on(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
):
    async def take(event: Event) -> None:
        if named([event]) == ["refused"]:
            raise StoreError("away")

    async with subscribed(kind, request, tmp_path, take) as subscriber:
        (refused, _) = await subscriber.publish("refused", "good")
        await subscriber.until_taken("good")
        await until(lambda: subscriber.dead, "it is a dead letter", patience_s=20)
    assert [each.id for each in subscriber.dead] == [refused.id]
    assert named(subscriber.tried).count("refused") == TRIES


async def test_what_is_refused_and_has_no_dead_letter_topic_comes_again_save_on_redis_and_in_memory(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
):
    is_open = asyncio.Event()

    async def take(event: Event) -> None:
        if named([event]) == ["refused"] and not is_open.is_set():
            raise StoreError("away")

    async with subscribed(kind, request, tmp_path, take, has_dead_letters=False) as subscriber:
        await subscriber.publish("refused")
        await until(lambda: len(subscriber.tried) >= TRIES, "all tries are over", patience_s=20)
        await asyncio.sleep(0.3)  # the sidecar has told the broker
        is_open.set()
        if kind in FORGETS_WHAT_IS_REFUSED:
            await asyncio.sleep(LONG_ENOUGH_S)
            assert not subscriber.taken
        else:
            await subscriber.until_taken("refused")


async def test_what_a_killed_sidecar_held_comes_again_save_in_memory(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
):
    names, is_back = [f"held-{number}" for number in range(5)], asyncio.Event()

    held: list[Event] = []

    async def take(event: Event) -> None:
        held.append(event)
        try:
            await is_back.wait()
        finally:
            held.remove(event)

    async with subscribed(kind, request, tmp_path, take) as subscriber:
        publishing = asyncio.create_task(subscriber.publish(*names))
        if kind not in FORGETS_WITH_THE_SIDECAR:  # there a publisher waits for the subscriber
            await publishing
        await until(lambda: subscriber.tried, "one is held", patience_s=20)
        await asyncio.to_thread(subscriber.sidecar.kill)
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)
        await until(lambda: not held, "the app has noticed that nobody waits for its answers", patience_s=20)
        is_back.set()
        subscriber.taken.clear()
        await asyncio.to_thread(subscriber.sidecar.start)
        if kind in FORGETS_WITH_THE_SIDECAR:
            await asyncio.sleep(LONG_ENOUGH_S)
            assert not subscriber.taken
        else:
            await subscriber.until_taken(*names)


async def test_on_jetstream_a_topic_without_a_stream_takes_nothing_and_says_so(
    request: pytest.FixtureRequest, tmp_path: Path
):
    async def take(_event: Event) -> None:
        raise AssertionError("nothing was published")

    async with subscribed("jetstream", request, tmp_path, take) as subscriber:
        with pytest.raises(PublishError, match="no response from stream"):
            await subscriber.publisher.publish_many([event(topic="without-a-stream")])
