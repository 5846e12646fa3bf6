"""Bulk publish as a sidecar takes it: each entry for itself, and the call as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.embedded import Called, embedded

pytestmark = pytest.mark.integration

CONNECT = {"command": "connect", "id": "a", "url": "ws://127.0.0.1:9/"}
BULK = "/v1.0/publish/bulk/pubsub/"


@pytest.fixture
async def wsm(tmp_path: Path):
    async with embedded(tmp_path) as called:
        yield called


@pytest.mark.parametrize("version", ["v1.0", "v1.0-alpha1"])
async def test_one_bad_entry_among_good_ones_is_named_and_the_others_arrive(wsm: Called, version: str):
    entries = [
        {"entryId": "1", "event": {"n": 1}, "contentType": "application/json"},
        {"entryId": "2", "event": {"n": 2}, "contentType": "text/plain"},
        {"entryId": "3", "event": "text", "contentType": "text/plain", "metadata": {"cloudevent.id": "three"}},
        {"entryId": "4", "event": "?", "contentType": "application/octet-stream"},
        {"entryId": "5", "event": "/wA=", "contentType": "application/octet-stream"},
        {"entryId": "6", "event": 6, "metadata": {"ttlInSeconds": 6}},
        {"entryId": "7", "event": 7, "metadata": [7]},
        {"entryId": "8", "event": 8, "contentType": 8},
        {"entryId": "9", "event": None},
    ]
    status, answer = await wsm.call("POST", f"/{version}/publish/bulk/pubsub/t", json=entries)
    assert (status, answer["errorCode"]) == (500, "ERR_PUBSUB_PUBLISH_MESSAGE")
    assert {entry["entryId"]: entry["error"] for entry in answer["failedEntries"]} == {
        "2": "event: must be a string, since contentType is text/plain",
        "4": "event: must be base64",
        "6": "metadata: must be an object of strings",
        "7": "metadata: must be an object of strings",
        "8": "contentType: must be a string",
    }
    contents = [document.get("data", document.get("data_base64")) for document in wsm.sink.on("t")]
    assert contents == [{"n": 1}, "text", "/wA=", None]
    assert wsm.sink.on("t")[1]["id"] == "three"


async def test_commands_in_bulk_are_each_a_command(wsm: Called):
    entries = [{"entryId": str(n), "event": {**CONNECT, "id": f"c{n}"}} for n in range(3)]
    assert await wsm.call("PUT", BULK + "websocket-commands", json=entries) == (204, None)
    assert [view["id"] for view in await wsm.invoke("connections")] == ["c0", "c1", "c2"]


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"{nonsense", "is not JSON"),
        (b"{}", "must be a list"),
        (b"[1]", "must be a list of objects"),
        (b'[{"event": 1}]', "entryId"),
        (b'[{"entryId": "1"}]', "entryId and event"),
        (b'[{"entryId": "1", "event": 1}, {"entryId": "1", "event": 2}]', "holds an entryId twice"),
    ],
)
async def test_a_bulk_call_that_is_wrong_as_a_whole_publishes_nothing(wsm: Called, body: bytes, part: str):
    status, answer = await wsm.call("POST", BULK + "t", data=body)
    assert status == 400
    assert part in answer["message"]
    assert wsm.sink.on("t") == []
