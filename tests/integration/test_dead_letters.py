"""Dead letters: kept whole, shown without payload, replayed once, and back again if refused again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.errors import EventRefusedError, PublishError
from runtime.feed import local_feed
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import Event
from runtime.models.wire import WireTime
from tests.embedded import INVOKE, Called, SinkInHand, embedded
from tests.peers import until

pytestmark = pytest.mark.integration

NOW = "2026-01-31T12:00:00.000000Z"
URL = "ws://127.0.0.1:9/?key=secret"


def letter(id_: str = "1", reason: str = "because", data: bytes = b"\xff\x00") -> DeadLetter:
    return DeadLetter.of(Event(id_, "t", "type", "a", NOW, data, "image/png"), reason, WireTime.parse(NOW))


# ---- the file


async def letters_of(wsm: Called, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        while len(letters := await wsm.invoke("deadLetters")) != count:
            await asyncio.sleep(0.01)
    return letters


async def deliver(wsm: Called, **command: Any) -> None:
    assert await wsm.publish("websocket-commands", json.dumps(command)) == (204, None)


async def test_a_command_that_was_rejected_is_judged_anew(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        await deliver(wsm, command="setTags", commandId="c1", id="a", tags={"n": "1"})
        (shown,) = await letters_of(wsm, 1)
        assert shown["id"] == "c1"
        assert shown["subject"] == "a"
        assert shown["topic"] == "websocket-commands"
        assert "unknown" in shown["reason"] or "no connection" in shown["reason"]
        await wsm.invoke("connect", id="a", url=URL, issuedAt="2020-01-01T00:00:00Z")
        assert await wsm.invoke("replayDeadLetters") == {"replayed": ["c1"], "refused": [], "notFound": []}
        assert (await wsm.invoke("connection", id="a"))["tags"] == {"n": "1"}
        assert await wsm.invoke("deadLetters") == []


async def test_a_rejection_that_the_record_remembers_does_not_stand_in_the_way(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        await wsm.invoke("connect", id="a", url=URL, issuedAt="2020-01-01T00:00:00Z")
        await deliver(wsm, command="connect", commandId="c1", id="a", url="ws://127.0.0.1:9/other")
        (shown,) = await letters_of(wsm, 1)
        refused = {"replayed": [], "refused": [{"id": "c1", "reason": shown["reason"]}], "notFound": []}
        assert await wsm.invoke("replayDeadLetters") == refused
        (again,) = await letters_of(wsm, 1)
        assert again["at"] > shown["at"]  # a new letter, not the old one
        await wsm.invoke("disconnect", id="a", issuedAt="2020-01-02T00:00:00Z")
        assert (await wsm.invoke("replayDeadLetters", ids=["c1"]))["refused"] == []
        assert (await wsm.invoke("connection", id="a"))["url"] == "ws://127.0.0.1:9/other"
        assert await wsm.invoke("deadLetters") == []


async def test_a_send_that_did_not_fit_is_sent_when_there_is_room(tmp_path: Path):
    async with local_feed(60) as feed, embedded(tmp_path) as wsm:
        await wsm.invoke("connect", id="a", url="ws://127.0.0.1:9/", autoReconnect=True, topic="t")
        for number in range(100):
            await wsm.invoke("send", id="a", message=str(number), ttlS=600)
        await deliver(wsm, command="send", commandId="c101", id="a", message="the last")
        (shown,) = await letters_of(wsm, 1)
        assert "at most 100" in shown["reason"]
        await wsm.invoke("connect", id="a", url=feed.url, autoReconnect=True, topic="t", replace=True)
        await until(lambda: len(feed.heard) == 100, "all that waited is sent")
        assert (await wsm.invoke("replayDeadLetters"))["replayed"] == ["c101"]
        await until(lambda: feed.heard[-1] == "the last", "the replayed send")


async def test_an_old_command_does_not_undo_a_newer_one(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        await deliver(wsm, command="setTags", commandId="old", id="a", tags={"n": "old"})
        await letters_of(wsm, 1)
        await wsm.invoke("connect", id="a", url=URL)
        await wsm.invoke("setTags", id="a", tags={"n": "new"})
        assert (await wsm.invoke("replayDeadLetters"))["replayed"] == ["old"]  # as superseded
        assert (await wsm.invoke("connection", id="a"))["tags"] == {"n": "new"}
        await wsm.until(lambda: any(o["status"] == "superseded" for o in wsm.sink.data("outcome")), "its outcome")


async def test_a_wrapped_command_keeps_its_id_source_and_time_over_a_replay(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        attributes = {"id": "e1", "source": "shop", "time": "2026-01-01T00:00:00Z"}
        command = {"command": "connect", "url": "http://wrong"}
        event = {"specversion": "1.0", "type": "t", **attributes, "data": command}
        await wsm.publish("websocket-commands", json.dumps(event), "application/cloudevents+json")
        (shown,) = await letters_of(wsm, 1)
        assert (shown["id"], shown["time"]) == ("e1", "2026-01-01T00:00:00Z")
        await wsm.invoke("replayDeadLetters")
        (again,) = await letters_of(wsm, 1)
        assert {key: again[key] for key in again if key != "at"} == {key: shown[key] for key in shown if key != "at"}
        (kept,) = (tmp_path / "dead-letters.jsonl").read_text().splitlines()
        assert json.loads(kept)["source"] == "shop"


async def refusing(events) -> None:
    for index, event in enumerate(events):
        if event.topic == "t":
            raise EventRefusedError("the sink answered 400", index=index)


async def test_a_frame_that_was_refused_is_published_again_with_its_id_and_type(tmp_path: Path):
    async with local_feed(0.01) as feed, embedded(tmp_path, SinkInHand(refusing)) as wsm:
        await wsm.invoke("connect", id="a", url=feed.url, topic="t")
        await wsm.until(lambda: len(wsm.sink.data("gap")) >= 3, "three gaps")
        await wsm.invoke("stopPublish", id="a")
        await asyncio.sleep(0.1)
        shown = await wsm.invoke("deadLetters")
        epoch = (await wsm.invoke("connection", id="a"))["epoch"]
        assert [entry["id"] for entry in shown] == [f"a.{epoch}.{number}" for number in range(1, len(shown) + 1)]
        assert {entry["reason"] for entry in shown} == {"the sink answered 400"}

        first, second = shown[0]["id"], shown[1]["id"]
        answer = await wsm.invoke("replayDeadLetters", ids=[first, "nobody"])
        assert answer == {
            "replayed": [],
            "refused": [{"id": first, "reason": "the sink answered 400"}],
            "notFound": ["nobody"],
        }
        now = await wsm.invoke("deadLetters")
        assert [entry["id"] for entry in now] == [*(entry["id"] for entry in shown[1:]), first]

        wsm.sink.before = None
        wsm.sink.documents.clear()
        assert (await wsm.invoke("replayDeadLetters", ids=[second]))["replayed"] == [second]
        (document,) = wsm.sink.on("t")
        assert (document["id"], document["type"]) == (second, "io.websocket-manager.frame")
        assert document["data"]["sequence"] == 2
        answer = await wsm.invoke("replayDeadLetters")
        assert len(answer["replayed"]) == len(shown) - 1
        assert await wsm.invoke("deadLetters") == []


async def test_no_list_log_or_answer_shows_a_payload(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        await deliver(wsm, command="connect", commandId="c1", id="a b", url="wss://user:secret@x/?key=secret")
        assert "secret" not in json.dumps(await letters_of(wsm, 1))
        assert "secret" not in json.dumps(await wsm.invoke("replayDeadLetters"))
        assert "secret" not in json.dumps(wsm.sink.documents)
        assert "secret" not in repr(wsm.observed.warnings)


async def test_only_the_letters_that_are_asked_for_are_listed(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        for number in range(3):
            await deliver(wsm, command="reconnect", commandId=f"c{number}", id="nobody")
        await letters_of(wsm, 3)
        assert [entry["id"] for entry in await wsm.invoke("deadLetters", ids=["c2", "c0", "x"])] == ["c0", "c2"]
        assert await wsm.invoke("deadLetters", ids=[]) == []
        status, answer = await wsm.call("POST", INVOKE + "replayDeadLetters", json={"ids": 7})
        assert (status, answer["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")


async def test_a_sink_that_fails_in_the_middle_keeps_what_has_not_arrived(tmp_path: Path):
    folder = tmp_path / "dead-letters.jsonl"
    letters = DeadLetterFile(folder)
    for number in range(3):
        await letters.add(letter(str(number)).to_json())

    async def fail_at_the_second(events) -> None:
        if any(event.id == "1" and event.topic == "t" for event in events):
            raise PublishError("the sink is away")

    async with embedded(tmp_path, SinkInHand(fail_at_the_second)) as wsm:
        status, answer = await wsm.call("POST", INVOKE + "replayDeadLetters")
        assert (status, answer["message"]) == (503, "the sink is away")
        assert [entry["id"] for entry in await wsm.invoke("deadLetters")] == ["1", "2"]
        wsm.sink.before = None
        assert (await wsm.invoke("replayDeadLetters"))["replayed"] == ["1", "2"]
    assert [event.id for event in wsm.sink.events if event.topic == "t"] == ["0", "1", "2"]
    assert [event.data for event in wsm.sink.events if event.topic == "t"] == [b"\xff\x00"] * 3


async def test_a_record_that_cannot_be_read_keeps_its_letter_and_lets_the_others_pass(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        await deliver(wsm, command="reconnect", commandId="c1", id="a")
        await deliver(wsm, command="disconnect", commandId="c2", id="index")
        await letters_of(wsm, 2)
        await wsm.manager.dispatch.context.records.store.put("websocket-a", b"garbage", None)
        answer = await wsm.invoke("replayDeadLetters")
        reasons = {entry["id"]: entry["reason"] for entry in answer["refused"]}
        assert "websocket-a cannot be read" in reasons["c1"]
        assert "reserved" in reasons["c2"]
        assert [entry["id"] for entry in await letters_of(wsm, 2)] == ["c1", "c2"]


async def test_letters_outlive_the_process(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        await deliver(wsm, command="reconnect", commandId="c1", id="nobody")
        before = await letters_of(wsm, 1)
    async with embedded(tmp_path) as wsm:
        assert await wsm.invoke("deadLetters") == before


async def test_a_dead_letter_that_cannot_be_kept_is_tried_again_until_it_is(tmp_path: Path):
    obstacle = tmp_path / "dead-letters.jsonl"
    obstacle.mkdir()
    async with embedded(tmp_path) as wsm:
        await deliver(wsm, command="reconnect", commandId="c1", id="nobody")
        await wsm.until(lambda: wsm.observed.warnings, "a warning")
        name, fields = wsm.observed.warnings[0]
        assert (name, fields["reason"]) == ("publish_failed", "a dead letter could not be kept: Is a directory")
        status, answer = await wsm.call("POST", INVOKE + "deadLetters")
        assert (status, answer["errorCode"]) == (503, "ERR_TRY_AGAIN")
        obstacle.rmdir()
        await letters_of(wsm, 1)
