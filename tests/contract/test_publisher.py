"""One suite for the Publisher port, run on every implementation, with a real subscriber at the other end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from runtime.errors import EventRefusedError, PublishError
from runtime.models.events import Event, is_json
from tests.contract.publishers import (
    BROKERS,
    LIMIT_BYTES,
    MIDDLE_BYTES,
    SNS_LIMIT_BYTES,
    SOURCE,
    Line,
    dapr,
    event,
    http,
    memory,
    stdout,
)

pytestmark = [pytest.mark.integration, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "stdout", "http", *BROKERS])
async def line(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    kind, folder = request.param, tmp_path_factory.mktemp(request.param)
    async with AsyncExitStack() as stack:
        match kind:
            case "memory":
                yield await stack.enter_async_context(memory())
            case "stdout":
                yield await stack.enter_async_context(stdout(folder))
            case "http":
                yield await stack.enter_async_context(http(folder))
            case _:
                yield await stack.enter_async_context(dapr(kind, request, folder))


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("application/json", b'{"text":"h\\u00e9 <&>","number":9007199254740991,"none":null}'),
        ("application/json", b'"text"'),
        ("text/plain", "h\u00e9 <&>\n".encode()),
        ("text/plain; charset=utf-8", b"text"),
        ("application/octet-stream", b"\xff\x00"),
        ("image/png", b"\xff\x00"),
        ("application/xml", b"<a/>"),
        ("application/vnd.test+json", b'{"a":1}'),
    ],
)
async def test_an_event_arrives_as_it_was_published(line: Line, content_type: str, data: bytes):
    sent = event(data, content_type, source="/shop", subject="conn:1")
    await line.publisher.publish_many([sent])
    (got,) = await line.until_arrived([sent])
    if is_json(content_type):  # a sidecar writes JSON anew
        assert json.loads(got.data) == json.loads(data)
        got = got._replace(data=data)
    assert got == sent


async def test_an_event_without_a_source_of_its_own_is_of_this_manager(line: Line):
    sent = event()
    await line.publisher.publish_many([sent])
    (got,) = await line.until_arrived([sent])
    assert got.source == ("" if line.kind == "memory" else SOURCE)


async def test_what_one_lane_sends_arrives_in_order_for_each_connection(line: Line):
    sent: list[Event] = []
    for number in range(40):
        call = [event(b"%d" % number, subject=subject) for subject in "abcde"]
        sent += call
        await line.publisher.publish_many(call)
    got = await line.until_arrived(sent)
    if line.is_ordered:
        for subject in "abcde":
            assert [int(each.data) for each in got if each.subject == subject] == list(range(40))


async def test_one_call_takes_events_of_several_topics(line: Line):
    sent = [event(b"%d" % number, topic=topic) for number, topic in enumerate("tutu")]
    await line.publisher.publish_many(sent)
    got = await line.until_arrived(sent)
    assert {each.id: each.topic for each in got} == {each.id: each.topic for each in sent}


async def test_many_events_in_one_call_all_arrive(line: Line):
    sent = [event(b'"%s"' % (b"x" * 1000), subject=str(number)) for number in range(120)]
    await line.publisher.publish_many(sent)
    await line.until_arrived(sent)


async def test_nothing_to_publish_is_nothing_to_do(line: Line):
    await line.publisher.publish_many([])
    await line.broken.publish_many([])


@pytest.mark.parametrize("size", [SNS_LIMIT_BYTES, MIDDLE_BYTES, LIMIT_BYTES])
async def test_an_event_too_large_is_refused_for_itself_and_those_before_it_have_arrived(line: Line, size: int):
    if not line.refuses(size):
        await line.publisher.publish_many([event(b'"%s"' % (b"x" * size))])
        return
    before = [event(subject="a"), event(subject="b", topic="u")]
    large = event(b'"%s"' % (b"x" * size), subject="c")
    after = event(subject="d")
    with pytest.raises(EventRefusedError) as refused:
        await line.publisher.publish_many([*before, large, after])
    assert refused.value.index == 2
    await line.until_arrived(before)
    assert large.id not in {each.id for each in line.arrived}
    await line.publisher.publish_many([after])
    await line.until_arrived([after])


async def test_a_call_that_fails_says_how_many_have_surely_arrived(line: Line):
    with pytest.raises(PublishError) as failed:
        await line.broken.publish_many([event(), event()])
    assert failed.value.published == 0


async def test_events_that_are_too_large_only_together_all_arrive(line: Line):
    sent = [event(b'"%s"' % (b"x" * MIDDLE_BYTES), subject=subject) for subject in "abc"]
    if line.refuses(MIDDLE_BYTES):
        return
    await line.publisher.publish_many(sent)
    await line.until_arrived(sent)
