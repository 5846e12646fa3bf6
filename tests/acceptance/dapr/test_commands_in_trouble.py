"""Commands that are bad, too large, doubled, in reverse order or early, and handlers that die over them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from tests.acceptance.dapr.stack import COMMANDS, Stack, eventually
from tests.acceptance.dapr.streams import ask
from tests.acceptance.feed import FeedProcess
from tests.brokers import publish_mqtt
from tests.peers import TEXT, Talk, frame, listening

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]

MIB = 1024 * 1024
POISON = {
    "no-command": b'{"id":"x"}',
    "unknown-command": b'{"command":"fly","id":"x"}',
    "no-object": b"[1,2,3]",
    "half-json": b'{"command":"connect"',
    "bad-time": b'{"command":"disconnect","id":"x"}',
    "bad-field": b'{"command":"connect","id":"x","url":"gopher://x"}',
}


async def test_poison_is_rejected_once_and_lies_in_the_dead_letters(stack: Stack):
    before = {letter["id"] for letter in await _letters(stack)}
    for id_, data in POISON.items():
        event = {"specversion": "1.0", "id": id_, "source": "test", "type": "c", "datacontenttype": "application/json"}
        if id_ == "half-json":
            event |= {"datacontenttype": "text/plain", "data": data.decode()}
        else:
            event["data"] = orjson.loads(data)
        if id_ == "bad-time":
            event["time"] = "soon"
        assert await stack.outsider.publish(orjson.dumps(event), "application/cloudevents+json") == 204
    assert await stack.outsider.publish(b"\x00\xff", "application/octet-stream") == 204  # arrives without its data
    publish_mqtt(stack.mosquitto.port, COMMANDS, b"not JSON at all")

    async def buried() -> list[dict[str, Any]]:
        return [letter for letter in await _letters(stack) if letter["id"] not in before]

    try:
        async with asyncio.timeout(20):
            while len(await buried()) < len(POISON) + 2:
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"buried are {[letter['id'] for letter in await buried()]}") from None
    await asyncio.sleep(3)  # a retry would come after 2 s
    found = await buried()
    letters = {letter["id"]: letter for letter in found}
    assert len(found) == len(letters) == len(POISON) + 2
    assert all(letter["reason"] and letter["topic"] == COMMANDS for letter in letters.values())
    assert all(stack.outsider.ends_of(id_) == ["rejected"] for id_ in letters)
    assert not stack.handlers.app.logged("delivery_failed")
    assert letters.keys() > POISON.keys()


async def test_a_command_of_5_mib_is_refused_at_the_sidecar_or_ends_as_a_dead_letter(stack: Stack):
    command = orjson.dumps({"command": "send", "id": "x", "commandId": "too-long", "message": "x" * 5 * MIB})
    assert await stack.outsider.publish(command) >= 400, "the sidecar took it: nobody is told that it is too long"
    event = {"specversion": "1.0", "id": "5-mib", "source": "test", "type": "c", "datacontenttype": "application/json"}
    document = orjson.dumps(event | {"data": orjson.Fragment(command)})
    ask(stack.redis.port, "XADD", COMMANDS, "*", "data", document)  # by a publisher without our sidecar's bound
    publish_mqtt(stack.mosquitto.port, COMMANDS, command)
    await eventually(lambda: len(_rejected_for_length(stack)) == 2, "both are rejected")

    async def buried() -> list[int]:
        return [letter["sizeBytes"] for letter in await _letters(stack) if letter["sizeBytes"] > 5 * MIB]

    async with asyncio.timeout(20):
        while len(await buried()) < 2:
            await asyncio.sleep(0.2)
    await asyncio.sleep(3)  # a retry would come after 2 s
    assert len(await buried()) == len(_rejected_for_length(stack)) == 2
    assert not stack.handlers.app.logged("delivery_failed")
    await stack.outsider.command(command="setTags", id="after", commandId="after-5-mib", tags={})
    await eventually(lambda: stack.outsider.ends_of("after-5-mib"), "what comes after it is answered")


async def test_handlers_killed_amid_100_commands_and_started_again_answer_all_of_them(stack: Stack, feed: FeedProcess):
    ids = [f"mid-{number}" for number in range(100)]

    async def publish() -> None:
        for id_ in ids:
            await stack.outsider.command(command="connect", id=id_, commandId=id_, url=feed.url(f"numbers/2/{id_}"))

    events = stack.stream()
    publishing = asyncio.create_task(publish())
    await eventually(lambda: len(_ended(events.data("outcome"), ids)) >= 10, "some are answered", every=0.01)
    stack.handlers.app.kill()
    await publishing
    await asyncio.sleep(1)
    answered = len(_ended(events.data("outcome"), ids))
    assert answered < len(ids), "they were all done before the kill"
    stack.handlers.app.start()
    await eventually(lambda: _ended(events.data("outcome"), ids) == set(ids), "each has an outcome")
    assert {each["status"] for each in events.data("outcome") if each["commandId"] in ids} == {"accepted"}
    await stack.until_status("Connected", *ids)
    for id_ in ids:
        await stack.outsider.command(command="disconnect", id=id_)


async def test_commands_doubled_and_in_reverse_order_lead_to_what_was_issued_last(stack: Stack, feed: FeedProcess):
    start = datetime.now(UTC) - timedelta(seconds=5)
    steps: list[dict[str, Any]] = [
        {"command": "connect", "url": feed.url("numbers/3/turned"), "autoReconnect": True},
        {"command": "setTags", "tags": {"n": "1"}},
        {"command": "disconnect", "keep": True},
        {"command": "setTags", "tags": {"n": "2"}},
        {"command": "reconnect"},
        {"command": "setTags", "tags": {"n": "3"}},
    ]
    commands = [
        {**step, "id": "turned", "commandId": f"turned-{number}", "issuedAt": _at(start, number)}
        for number, step in enumerate(steps)
    ]
    await stack.outsider.command(**commands[0])  # else there is nothing that the others could be about
    await eventually(lambda: stack.outsider.ends_of("turned-0"), "it exists")
    for command in [*reversed(commands[1:]), *commands, *reversed(commands)]:
        await stack.outsider.command(**command)
    await eventually(lambda: all(stack.outsider.ends_of(f"turned-{n}") for n in range(len(steps))), "all are answered")
    await stack.until_status("Connected", "turned")
    view = await stack.outsider.invoke("connection", id="turned")
    assert view["tags"] == {"n": "3"}
    ends = {number: set(stack.outsider.ends_of(f"turned-{number}")) for number in range(len(steps))}
    assert all(len(each) == 1 for each in ends.values()), "a repeat has another outcome"
    assert ends[0] == ends[4] == ends[5] == {"accepted"}


async def test_a_publisher_whose_clock_is_60_s_ahead_does_not_stop_a_disconnect_sent_10_s_later(
    stack: Stack, feed: FeedProcess
):
    ahead = datetime.now(UTC) + timedelta(seconds=60)
    body = {"id": "ahead", "url": feed.url("numbers/4/ahead"), "autoReconnect": True}
    await stack.outsider.command(command="connect", commandId="ahead-1", issuedAt=_at(ahead, 0), **body)
    await eventually(lambda: stack.outsider.ends_of("ahead-1") == ["accepted"], "connect is accepted")
    await stack.until_status("Connected", "ahead")
    now = datetime.now(UTC)  # 10 s are not waited for: what comes sooner has it harder
    await stack.outsider.command(command="disconnect", id="ahead", commandId="ahead-2", issuedAt=_at(now, 0))
    await eventually(lambda: stack.outsider.ends_of("ahead-2"), "disconnect is answered")
    assert stack.outsider.ends_of("ahead-2") == ["accepted"]
    await eventually(lambda: any("/ahead" in line["path"] for line in feed.told("closed")), "the peer sees it go")


async def test_a_frame_that_is_larger_than_the_sidecar_takes_becomes_a_dead_letter_and_a_gap_with_the_reason(
    stack: Stack,
):
    sizes = [10, 5 * MIB, 20]

    async def talk(peer: Talk) -> None:
        await peer.accept()
        for size in sizes:
            await peer.write(frame(TEXT, b"y" * size))
        await peer.until_closed()

    frames, events = stack.stream("large-frames"), stack.stream()
    async with listening(talk) as peer:
        options = {"maxMessageBytes": 8 * MIB}
        await stack.connect({"id": "large", "url": peer.url, "topic": frames.topic, "options": options})
        await eventually(lambda: len(frames.read()) == 2, "what came before and after it is published")
        await eventually(lambda: [gap for gap in events.data("gap") if gap["connectionId"] == "large"], "a gap")
        await stack.outsider.invoke("disconnect", id="large")
    (gap,) = [gap for gap in events.data("gap") if gap["connectionId"] == "large"]
    assert (gap["kind"], gap["fromSequence"], gap["toSequence"]) == ("dropped", 2, 2)
    assert "larger than max" in gap["reason"]
    assert [event["data"]["sequence"] for event in frames.read()] == [1, 3]
    async with asyncio.timeout(20):
        while not (letters := [letter for letter in await _letters(stack) if letter["subject"] == "large"]):
            await asyncio.sleep(0.2)
    (letter,) = letters
    assert letter["topic"] == frames.topic
    assert letter["sizeBytes"] > 5 * MIB
    assert "larger than max" in letter["reason"]


async def _letters(stack: Stack) -> list[dict[str, Any]]:
    return await stack.outsider.invoke("deadLetters")


def _rejected_for_length(stack: Stack) -> list[dict[str, Any]]:
    return [each for each in stack.outsider.told("outcome") if "is longer than" in (each["reason"] or "")]


def _ended(outcomes: list[dict[str, Any]], ids: list[str]) -> set[str]:
    return {outcome["commandId"] for outcome in outcomes} & set(ids)


def _at(start: datetime, seconds: float) -> str:
    return (start + timedelta(seconds=seconds)).isoformat()
