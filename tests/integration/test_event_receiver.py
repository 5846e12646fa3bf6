"""CloudEvents by HTTP POST into the handlers, as a Knative Trigger sends them."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from runtime.adapters.clock import SystemClock
from runtime.adapters.event_receiver import EventReceiver
from runtime.errors import PermanentError, TransientError
from runtime.models.events import Event
from tests.unit.world import World

pytestmark = pytest.mark.integration

COMMANDS = "websocket-commands"
CONNECT = {"command": "connect", "id": "a", "url": "wss://feed.example/", "topic": "t"}
BINARY = {
    "ce-specversion": "1.0",
    "ce-id": "e%201",
    "ce-source": "/shop",
    "ce-type": "command",
    "Content-Type": "application/json",
}
STRUCTURED = {"Content-Type": "application/cloudevents+json; charset=utf-8"}


@asynccontextmanager
async def posting(receive: Any) -> AsyncIterator[Any]:
    receiver = EventReceiver(receive, COMMANDS, SystemClock(), host="127.0.0.1", port=0)
    await receiver.start()
    try:
        async with aiohttp.ClientSession(trust_env=False) as session:

            async def post(data: Any, headers: dict[str, str]) -> tuple[int, str, Any]:
                async with session.post(f"http://127.0.0.1:{receiver.port}/", data=data, headers=headers) as answer:
                    return answer.status, await answer.text(), answer.headers

            yield post
    finally:
        await receiver.stop()


def structured(**attributes: Any) -> bytes:
    return json.dumps({"specversion": "1.0", "id": "e 1", "source": "/shop", "type": "command", **attributes}).encode()


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (BINARY, json.dumps(CONNECT).encode()),
        (STRUCTURED, structured(data=CONNECT, datacontenttype="application/json")),
    ],
    ids=["binary", "structured"],
)
async def test_a_command_in_either_mode_becomes_a_record_once_however_often_it_comes(
    headers: dict[str, str], body: bytes
):
    world = World()
    async with posting(world.manager.take_in) as post:
        for _ in range(2):
            assert (await post(body, headers))[0] == 204
    record = await world.record()
    assert (record.topic, record.generation) == ("t", 1)
    assert list(record.outcomes) == ["e 1"]


async def test_what_can_never_work_is_done_with_and_becomes_a_dead_letter():
    world = World()
    async with posting(world.manager.take_in) as post:
        assert (await post(b'{"command": "explode"}', BINARY))[0] == 204
    topics = [entry.event().topic for entry in world.announcer.queue]
    assert topics == ["websocket-events", "websocket-dead-letters"]


async def test_the_attributes_arrive_as_they_were_meant():
    seen: list[Event] = []

    async def receive(event: Event) -> None:
        seen.append(event)

    async with posting(receive) as post:
        assert (await post(b"1", {**BINARY, "ce-subject": "caf%C3%A9", "ce-time": "2026-01-31T12:00:00Z"}))[0] == 204
    (event,) = seen
    assert (event.id, event.source, event.type, event.subject) == ("e 1", "/shop", "command", "café")
    assert (event.time, event.topic, event.data) == ("2026-01-31T12:00:00Z", COMMANDS, b"1")


@pytest.mark.parametrize(
    ("headers", "body", "said"),
    [
        ({"Content-Type": "application/json"}, b"{}", "ce-id, ce-source, ce-type and ce-specversion"),
        ({**BINARY, "ce-id": ""}, b"{}", "id"),
        ({**BINARY, "ce-specversion": "0.3"}, b"{}", "specversion"),
        ({**BINARY, "ce-time": "noon"}, b"{}", "RFC 3339"),
        (STRUCTURED, b"{nonsense", "is not JSON"),
        (STRUCTURED, b"{}", "source"),
    ],
)
async def test_what_is_no_cloud_event_is_refused_with_what_is_wrong(headers: dict[str, str], body: bytes, said: str):
    async def receive(event: Event) -> None:
        pytest.fail("it was handed over")

    async with posting(receive) as post:
        status, text, _ = await post(body, headers)
    assert status == 400
    assert said in text


async def test_what_may_work_later_is_to_be_sent_again():
    async def receive(event: Event) -> None:
        raise TransientError("the store is away")

    async with posting(receive) as post:
        status, text, headers = await post(b"{}", BINARY)
    assert (status, text, headers["Retry-After"]) == (503, "the store is away\n", "1")


async def test_an_event_that_is_too_large_is_refused():
    async def receive(event: Event) -> None:
        pytest.fail("it was handed over")

    async with posting(receive) as post:
        assert (await post(BytesIO(b"x" * 5_000_000), BINARY))[0] == 413


async def test_a_taken_port_is_refused_and_its_holder_named():
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        receiver = EventReceiver(lambda event: None, COMMANDS, SystemClock(), host="127.0.0.1", port=port)  # type: ignore[arg-type,return-value]
        with pytest.raises(PermanentError, match="--events-port"):
            await receiver.start()
