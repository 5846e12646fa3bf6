"""The endpoint as its callers see it: the sidecar's shapes, and what happens to what is wrong."""

from __future__ import annotations

import asyncio
import io
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import pytest

from runtime.errors import EventRefusedError, PublishError
from tests.embedded import INVOKE, PUBLISH, Called, SinkInHand, embedded

pytestmark = pytest.mark.integration

CONNECT = {"command": "connect", "id": "a", "url": "ws://127.0.0.1:9/"}
CLOUD_EVENT = "application/cloudevents+json"
BULK = "/v1.0/publish/bulk/pubsub/"


@pytest.fixture
async def wsm(tmp_path: Path):
    async with embedded(tmp_path) as called:
        yield called


async def published(wsm: Called, topic: str) -> dict[str, Any]:
    await wsm.until(lambda: wsm.sink.on(topic), f"an event on {topic}")
    (document,) = wsm.sink.on(topic)
    return document


async def rejection(wsm: Called) -> dict[str, Any]:
    await wsm.until(lambda: wsm.sink.data("outcome"), "an outcome")
    (outcome,) = wsm.sink.data("outcome")
    assert outcome["status"] == "rejected"
    return outcome


# ---- commands by their topic


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"{nonsense", "is not JSON"),
        (b"", "is not JSON"),
        (b"[1]", "must be a JSON object"),
        (b'{"command": "connect", "url": 7}', "url: Input should be a valid string"),
    ],
)
async def test_a_wrong_command_on_the_topic_is_taken_and_ends_as_a_rejection_and_a_dead_letter(
    wsm: Called, body: bytes, part: str
):
    assert await wsm.publish("websocket-commands", body) == (204, None)
    assert part in (await rejection(wsm))["reason"]
    async with asyncio.timeout(20):
        while not (letters := await wsm.invoke("deadLetters")):
            await asyncio.sleep(0.01)
    assert [(letter["topic"], letter["sizeBytes"]) for letter in letters] == [("websocket-commands", len(body))]


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", None, "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("wrap", [json.dumps, lambda command: json.dumps(json.dumps(command))], ids=["raw", "string"])
async def test_a_command_is_written_when_the_publish_call_is_answered(wsm: Called, content_type: str | None, wrap):
    assert await wsm.publish("websocket-commands", wrap(CONNECT), content_type) == (204, None)
    assert [view["id"] for view in await wsm.invoke("connections")] == ["a"]


async def test_a_cloud_event_on_the_commands_topic_gives_the_command_its_id_and_its_time(wsm: Called):
    def event(id_: str, time: str, tags: dict[str, str]) -> str:
        command = {"command": "setTags", "id": "a", "tags": tags}
        return json.dumps(
            {"specversion": "1.0", "id": id_, "source": "shop", "type": "t", "time": time, "data": command}
        )

    await wsm.invoke("connect", id="a", url=CONNECT["url"], issuedAt="2025-12-31T00:00:00Z")
    await wsm.publish("websocket-commands", event("new", "2026-01-02T00:00:00Z", {"n": "2"}), CLOUD_EVENT)
    await wsm.publish("websocket-commands", event("late", "2026-01-01T00:00:00Z", {"n": "1"}), CLOUD_EVENT)
    view = await wsm.invoke("connection", id="a")
    assert view["tags"] == {"n": "2"}
    await wsm.until(lambda: len(wsm.sink.data("outcome")) >= 3, "three outcomes")
    ends = {outcome["commandId"]: outcome["status"] for outcome in wsm.sink.data("outcome")}
    assert (ends["new"], ends["late"]) == ("accepted", "superseded")


async def test_a_cloud_event_with_binary_data_is_a_command_too(wsm: Called):
    event = {"specversion": "1.0", "id": "1", "source": "shop", "type": "t"}
    event |= {"datacontenttype": "application/json", "data_base64": b64encode(json.dumps(CONNECT).encode()).decode()}
    assert (await wsm.publish("websocket-commands", json.dumps(event), CLOUD_EVENT))[0] == 204
    assert [view["id"] for view in await wsm.invoke("connections")] == ["a"]


async def test_metadata_gives_a_command_its_id_so_that_a_repeat_makes_no_second_connection(wsm: Called):
    command = json.dumps({"command": "connect", "url": CONNECT["url"]})
    for _ in range(2):
        params = {"metadata.cloudevent.id": "7", "metadata.cloudevent.source": "shop"}
        assert (await wsm.publish("websocket-commands", command, params=params))[0] == 204
    assert len(await wsm.invoke("connections")) == 1


# ---- other topics


@pytest.mark.parametrize(
    ("content_type", "body", "content"),
    [
        ("application/json", b'{"n":\r\n 12345678901234567890123}', {"data": {"n": 12345678901234567890123}}),
        ("application/json; charset=utf-8", b"[1]", {"data": [1]}),
        ("application/vnd.shop+json", b'"x"', {"data": "x"}),
        ("text/plain", b'{"a": 1}', {"data": '{"a": 1}'}),
        ("text/plain; charset=utf-8", "ü".encode(), {"data": "ü"}),
        ("application/octet-stream", b"text", {"data_base64": "dGV4dA=="}),
        ("image/png", b"\xff\x00", {"data_base64": "/wA="}),
        (None, b"plain", {"data": "plain"}),
    ],
)
async def test_an_event_is_published_as_a_sidecar_would_by_its_content_type(
    wsm: Called, content_type: str | None, body: bytes, content: dict[str, Any]
):
    assert await wsm.publish("t", body, content_type) == (204, None)
    document = await published(wsm, "t")
    assert {key: document[key] for key in ("data", "data_base64") if key in document} == content
    assert document["datacontenttype"] == (content_type or "text/plain")
    assert (document["type"], document["source"]) == ("com.dapr.event.sent", "websocket-manager")


async def test_a_published_cloud_event_is_the_event(wsm: Called):
    event = {
        "specversion": "1.0",
        "id": "o-1",
        "source": "/shop",
        "type": "order.made",
        "subject": "order 1",
        "time": "2026-01-31T12:00:00+01:00",
        "data": {"n": 1},
    }
    assert (await wsm.publish("orders", json.dumps(event), CLOUD_EVENT + "; charset=utf-8"))[0] == 204
    document = await published(wsm, "orders")
    assert event.items() <= document.items()
    assert (document["datacontenttype"], document["pubsubname"]) == ("application/json", "pubsub")


async def test_metadata_names_the_attributes_of_an_event(wsm: Called):
    params = {f"metadata.cloudevent.{key}": f"my {key}" for key in ("id", "source", "type", "subject")}
    assert (await wsm.publish("t", b"1", params={**params, "metadata.ttlInSeconds": "60"}))[0] == 204
    document = await published(wsm, "t")
    assert {key: document[key] for key in ("id", "source", "type", "subject")} == {
        key: f"my {key}" for key in ("id", "source", "type", "subject")
    }


@pytest.mark.parametrize(
    ("content_type", "body", "part"),
    [
        ("application/json", b"{nonsense", "data: is not JSON"),
        ("application/json", b"", "data: is not JSON"),
        ("application/json", b'"\xff"', "data: is not JSON"),
        (CLOUD_EVENT, b"{nonsense", "event: is not JSON"),
        (CLOUD_EVENT, b"[]", "CloudEventDocument"),
        (CLOUD_EVENT, b'{"specversion": "0.3", "id": "1", "source": "s", "type": "t"}', "specversion"),
        (CLOUD_EVENT, b'{"specversion": "1.0", "id": "", "source": "s", "type": "t"}', "id"),
        (CLOUD_EVENT, b'{"specversion": "1.0", "id": "1", "type": "t"}', "source"),
        (CLOUD_EVENT, b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "time": "now"}', "RFC 3339"),
        (
            CLOUD_EVENT,
            b'{"specversion": "1.0", "id": "1", "source": "s", "type": "t", "data_base64": "?"}',
            "must be base64",
        ),
        ("text/\N{LATIN SMALL LETTER E WITH ACUTE}", b"x", "printable ASCII"),
    ],
)
async def test_an_event_that_is_not_what_it_says_is_refused_with_the_reason(
    wsm: Called, content_type: str, body: bytes, part: str
):
    status, answer = await wsm.publish("t", body, content_type)
    assert (status, answer["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")
    assert part in answer["message"]
    assert wsm.sink.on("t") == []


@pytest.mark.parametrize("topic", ["websocket-host", "websocket-host-x", "websocket-events", "websocket-dead-letters"])
@pytest.mark.parametrize("body", [b'"a"', b"\xff", b""])
async def test_the_managers_own_topics_are_closed_to_others_and_nothing_breaks(wsm: Called, topic: str, body: bytes):
    status, answer = await wsm.publish(topic, body, "text/plain")
    assert (status, answer["errorCode"]) == (403, "ERR_PUBSUB_FORBIDDEN")
    status, _ = await wsm.call("POST", BULK + topic, json=[{"entryId": "1", "event": 1}])
    assert status == 403
    assert (await wsm.call("GET", "/v1.0/healthz"))[0] == 204
    assert await wsm.invoke("deadLetters") == []


async def test_an_event_is_published_when_the_call_is_answered_and_a_sink_that_is_away_is_said(tmp_path: Path):
    async def away(events) -> None:
        raise PublishError("the sink is away")

    async def refuse(events) -> None:
        raise EventRefusedError("the sink refuses it", index=0)

    async with embedded(tmp_path, SinkInHand(away)) as wsm:
        status, answer = await wsm.publish("t", b"1")
        assert (status, answer) == (503, {"errorCode": "ERR_TRY_AGAIN", "message": "the sink is away"})
        wsm.sink.before = refuse
        status, answer = await wsm.publish("t", b"1")
        assert (status, answer["errorCode"]) == (500, "ERR_PUBSUB_PUBLISH_MESSAGE")
        wsm.sink.before = None
        assert (await wsm.publish("t", b"1"))[0] == 204
        assert len(wsm.sink.on("t")) == 1


# ---- calls that lead nowhere


@pytest.mark.parametrize("path", [PUBLISH + "t", BULK + "websocket-commands", INVOKE + "connect"])
async def test_a_body_of_five_megabytes_is_refused_with_the_limit(wsm: Called, path: str):
    status, answer = await wsm.call("POST", path, data=io.BytesIO(b"x" * 5_000_000))
    assert (status, answer["errorCode"]) == (413, "ERR_BODY_TOO_LARGE")
    assert str(4 * 1024 * 1024) in answer["message"]


@pytest.mark.parametrize(
    ("verb", "path", "expected", "part"),
    [
        ("POST", INVOKE + "explode", 404, "no method 'explode'; there are connect, "),
        ("POST", "/v1.0/invoke/nobody/method/connections", 404, "websocket-handlers"),
        ("POST", "/v1.0/publish/kafka/t", 404, "pubsub kafka is not found; it is called pubsub"),
        ("POST", "/v1.0/publish/bulk/kafka/t", 404, "pubsub kafka is not found"),
        ("GET", PUBLISH + "t", 405, "GET is not allowed here; POST, PUT is"),
        ("GET", BULK + "t", 405, "GET is not allowed here"),
        ("DELETE", INVOKE + "connections", 405, "DELETE is not allowed here"),
        ("POST", "/v1.0/healthz", 405, "POST is not allowed here"),
        ("GET", "/v1.0/state/statestore/x", 404, "nothing at this path"),
        ("GET", "/", 404, "nothing at this path"),
    ],
)
async def test_a_call_that_leads_nowhere_is_told_so_in_json(
    wsm: Called, verb: str, path: str, expected: int, part: str
):
    status, answer = await wsm.call(verb, path)
    assert status == expected
    assert set(answer) == {"errorCode", "message"}
    assert part in answer["message"]


async def test_a_read_may_be_a_get_and_its_query_is_checked(wsm: Called):
    assert await wsm.call("GET", INVOKE + "connections") == (200, [])
    for body in (b"{nonsense", b"[]", b'{"status": "Flying"}'):
        status, answer = await wsm.call("POST", INVOKE + "connections", data=body)
        assert (status, answer["errorCode"]) == (400, "ERR_MALFORMED_REQUEST")
    status, answer = await wsm.call("POST", INVOKE + "connection", json={"id": "nobody"})
    assert (status, answer["message"]) == (404, "no connection 'nobody' is known")


async def test_a_command_by_invocation_is_answered_with_its_outcome_even_if_it_is_wrong(wsm: Called):
    for body in (b"", b"{nonsense", b"[]", b"{}"):
        status, answer = await wsm.call("POST", INVOKE + "connect", data=body)
        assert (status, answer["status"]) == (200, "rejected")


async def test_health_and_metadata_have_the_sidecars_shape(wsm: Called):
    for path in ("/v1.0/healthz", "/v1.0/healthz/outbound"):
        assert await wsm.call("GET", path) == (204, None)
    status, answer = await wsm.call("GET", "/v1.0/metadata")
    assert (status, answer["id"]) == (200, "websocket-handlers")
    assert {component["name"] for component in answer["components"]} == {"pubsub", "statestore"}
