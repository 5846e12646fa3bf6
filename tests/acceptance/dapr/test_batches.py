"""Delivery in batches through a real sidecar to Redis, as what stands in the stream, over the death of the sidecar."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import orjson
import pytest

from tests.acceptance.dapr.stack import Stack, eventually
from tests.acceptance.dapr.streams import ask
from tests.acceptance.feed import FeedProcess, sent_at

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]

FRAMES = 20_000
MAX_MESSAGES = 300


async def test_batches_hold_every_frame_once_and_in_order_and_a_repeat_is_the_same(stack: Stack, feed: FeedProcess):
    topic = f"batches-{uuid4().hex}"
    id_ = await _connect(stack, feed, topic)
    await eventually(lambda: len(_documents(stack, topic)) > 3, "the first batches have arrived")
    stack.host.sidecar.kill()
    stack.host.sidecar.start()
    await eventually(lambda: _is_whole(_documents(stack, topic)), "all frames have arrived", patience_s=90)

    said: dict[str, Any] = {}
    last = 0
    for event in _documents(stack, topic):
        assert event["type"] == "io.websocket-manager.frames"
        assert said.setdefault(event["id"], event["data"]) == event["data"]
        envelopes = event["data"]
        first, end = envelopes[0]["sequence"], envelopes[-1]["sequence"]
        assert event["id"] == f"{id_}.{envelopes[0]['epoch']}.{first}-{end}"
        assert [envelope["sequence"] for envelope in envelopes] == list(range(first, end + 1))
        assert len(envelopes) <= MAX_MESSAGES
        assert first <= last + 1, "a batch came out of order"
        last = max(last, end)
        assert {sent_at(envelope["payload"])[0] + 1 - envelope["sequence"] for envelope in envelopes} == {0}
    assert max(len(data) for data in said.values()) > 1
    assert last == FRAMES


async def test_a_raw_batch_is_the_array_of_envelopes_and_nothing_else(stack: Stack, feed: FeedProcess):
    topic = f"raw-{uuid4().hex}"
    id_ = await _connect(stack, feed, topic, rawPayload=True)
    await eventually(lambda: sum(map(len, _documents(stack, topic))) >= FRAMES, "all frames have arrived")
    envelopes = [envelope for batch in _documents(stack, topic) for envelope in batch]
    assert {envelope["websocketId"] for envelope in envelopes} == {id_}
    assert [envelope["sequence"] for envelope in envelopes] == list(range(1, FRAMES + 1))


async def _connect(stack: Stack, feed: FeedProcess, topic: str, **options: Any) -> str:
    """A connection to a burst."""
    id_ = uuid4().hex
    options |= {"delivery": "batch", "batchMaxMessages": MAX_MESSAGES, "openingMessages": ["go"]}
    await stack.outsider.invoke("connect", id=id_, url=feed.url(f"burst/{FRAMES}/{id_}"), topic=topic, options=options)
    return id_


def _documents(stack: Stack, topic: str) -> list[Any]:
    """What stands in the stream, as JSON."""
    entries = ask(stack.redis.port, "XRANGE", topic, "-", "+")
    return [orjson.loads(fields[fields.index(b"data") + 1]) for _, fields in entries]


def _is_whole(events: list[dict[str, Any]]) -> bool:
    return len({envelope["sequence"] for event in events for envelope in event["data"]}) == FRAMES
