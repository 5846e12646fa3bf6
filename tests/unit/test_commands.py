"""What commands are accepted, and what is said of the others."""

from __future__ import annotations

import asyncio
import json

import pytest

from tests.unit.world import URL, World
from tests.virtual_time import virtual_time


def reject(name: str, part: str, **fields: object) -> None:
    @virtual_time
    async def run():
        world = World()
        outcome = await world.command(name, **fields)
        assert outcome["status"] == "rejected"
        assert part in outcome["reason"]
        assert world.store.values == {} or name != "connect"

    run()


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        ({"id": "a b"}, "id: must be 1 to 128 characters"),
        ({"id": "x" * 129}, "id: must be 1 to 128 characters"),
        ({"id": "a||b"}, "id: must be 1 to 128 characters"),
        ({"id": ""}, "id: must be 1 to 128 characters"),
        ({"id": "index"}, "'index' is reserved"),
        ({"url": "http://example.com"}, "must start with ws:// or wss://"),
        ({"url": "ws://"}, "names no host"),
        ({"url": "ws://example.com:0"}, "port 0"),
        ({"url": "ws://example.com:99999"}, "cannot be read"),
        ({"url": "ws://example.com/#x"}, "fragment"),
        ({"url": "ws://exa mple.com/"}, "space"),
        ({"url": "ws://[::1"}, "cannot be read"),
        ({"url": "ws://e.com/" + "x" * 9000}, "longer than 8192"),
        ({"url": "ws://127.0.0.1/"}, "the guard refuses 127.0.0.1: loopback 127.0.0.0/8; --allow-private"),
        ({"url": "ws://[::ffff:10.0.0.1]/"}, "private network 10.0.0.0/8, by 10.0.0.1 in it"),
        ({"url": "wss://169.254.169.254/"}, "metadata"),
        ({"topic": "a b"}, "topic: must be 1 to 249 characters"),
        ({"topic": ""}, "topic: must be 1 to 249 characters"),
        ({"topic": "websocket-commands"}, "reserved"),
        ({"topic": "websocket-host-me"}, "reserved"),
        ({"tags": {str(n): "" for n in range(51)}}, "holds 51 tags; at most 50"),
        ({"tags": {"x" * 129: ""}}, "a key of 1 to 128"),
        ({"tags": {"x": "y" * 1025}}, "at most 1024"),
        ({"options": {"reconnectBaseDelayS": 9, "reconnectMaxDelayS": 3}}, "reconnectBaseDelayS (9) is above"),
        ({"options": {"idleTimeoutS": 5, "stableAfterS": 10}}, "idleTimeoutS (5) must be above stableAfterS (10)"),
        ({"options": {"queueMaxBytes": 1024}}, "could not hold one message"),
        ({"options": {"connectTimeoutS": -1}}, "options.connectTimeoutS"),
        ({"options": {"overflow": "explode"}}, "options.overflow"),
        ({"options": {"openingMessages": [{"data": "?", "binary": True}]}}, "must be base64"),
        ({"autoReconnect": "perhaps"}, "autoReconnect"),
        ({"issuedAt": "yesterday"}, "issuedAt: must be an ISO 8601 time"),
        ({"commandId": ""}, "commandId"),
    ],
)
def test_a_connect_that_can_never_work_is_rejected_with_the_field_and_what_to_do(fields: dict, part: str):
    reject("connect", part, **{"id": "a", "url": "wss://example.com", **fields})


@pytest.mark.parametrize("name", ["reconnect", "startPublish", "stopPublish", "setTags", "send", "request"])
def test_a_command_on_an_unknown_id_is_rejected(name: str):
    extra = {"topic": "t", "tags": {}, "message": "x"}
    reject(name, "no connection 'nope' is known", id="nope", **extra)


@virtual_time
async def test_user_info_in_a_url_is_masked_everywhere_but_in_the_record():
    async with World().running() as world:
        socket = await world.connect(url="wss://user:hunter2@feed.example/x?token=hunter2")
        socket.push("1")
        await world.settle()
        answers = [await world.command("connection", id="a"), await world.command("connections")]
        seen = json.dumps(answers) + "".join(event.data.decode() for event in world.publisher.events)
        assert "hunter2" not in seen
        assert b"hunter2" in world.store.values["websocket-a"].value


@virtual_time
async def test_an_unknown_field_and_an_unknown_option_are_warned_of_not_refused():
    world = World()
    outcome = await world.command("connect", id="a", url=URL, topik="t", options={"pingInterval": 3})
    assert outcome["status"] == "accepted"
    assert outcome["warnings"] == ["unknown field 'topik' was ignored", "unknown option 'pingInterval' was ignored"]


@virtual_time
async def test_the_same_command_twice_has_the_same_outcome_and_no_second_effect():
    async with World().running() as world:
        first = await world.command("connect", id="a", url=URL, commandId="c1")
        await world.settle()
        await world.command("disconnect", id="a", commandId="c2")
        await world.settle()
        again = await world.command("connect", id="a", url=URL, commandId="c1")
        assert again == first
        assert (await world.record()).is_removed
        reconnected = await world.command("reconnect", id="a", commandId="c3")
        assert await world.command("reconnect", id="a", commandId="c3") == reconnected | {"at": reconnected["at"]}


@virtual_time
async def test_connect_without_an_id_makes_one_connection_however_often_it_is_delivered():
    world = World()
    body = json.dumps(
        {
            "specversion": "1.0",
            "id": "e1",
            "source": "s",
            "type": "x",
            "data": {"command": "connect", "url": URL},
        }
    ).encode()
    first, second = await world.dispatch.deliver(body), await world.dispatch.deliver(body)
    assert first.connection_id == second.connection_id
    assert len(await world.records.ids()) == 1


@virtual_time
async def test_connect_is_idempotent_and_a_difference_needs_replace():
    world = World()
    await world.command("connect", id="a", url=URL)
    assert (await world.command("connect", id="a", url=URL))["reason"] == "unchanged"
    assert (await world.record()).generation == 1
    refused = await world.command("connect", id="a", url="wss://other.example")
    assert refused["status"] == "rejected"
    assert "another url" in refused["reason"]
    assert (await world.command("connect", id="a", url="wss://other.example", replace=True))["status"] == "accepted"
    assert (await world.record()).generation == 2


@virtual_time
async def test_replacing_what_a_live_socket_can_take_over_dials_nothing():
    async with World().running() as world:
        socket = await world.connect()
        body = {"id": "a", "url": URL, "replace": True}
        changed = await world.command("connect", **body, topic="other", tags={"k": "v"}, autoReconnect=False)
        assert changed["reason"] == "replaced topic, autoReconnect, tags"
        await world.settle()
        socket.push("1")
        await world.settle()
        assert (world.dialer.dials, socket.is_open) == (1, True)
        assert [event.topic for event in world.publisher.events if event.type.endswith("frame")] == ["other"]
        await world.command("connect", **body, topic="other", options={"pingIntervalS": 7}, autoReconnect=False)
        await world.settle()
        assert (world.dialer.dials, socket.is_open) == (2, False)


@virtual_time
async def test_a_late_replace_keeps_the_topic_and_tags_of_newer_commands():
    world = World()
    await world.command("connect", id="a", url=URL, topic="first", issuedAt="2025-12-31T10:00:00Z")
    await world.command("startPublish", id="a", topic="newest", issuedAt="2025-12-31T10:00:09Z")
    await world.command("setTags", id="a", tags={"new": "est"}, issuedAt="2025-12-31T10:00:09Z")
    body = {"url": "wss://other.example", "topic": "late", "tags": {"la": "te"}, "replace": True}
    outcome = await world.command("connect", id="a", **body, issuedAt="2025-12-31T10:00:05Z")
    record = await world.record()
    assert outcome["status"] == "accepted"
    assert (record.url, record.topic, record.tags) == ("wss://other.example", "newest", {"new": "est"})


@virtual_time
async def test_a_connection_that_is_made_again_owes_nothing_to_its_life_before():
    world = World()
    await world.command("connect", id="a", url=URL, topic="old", issuedAt="2025-12-31T10:00:00Z")
    await world.command("startPublish", id="a", topic="older", issuedAt="2025-12-31T10:00:09Z")
    await world.command("disconnect", id="a", issuedAt="2025-12-31T10:00:03Z")
    await world.command("connect", id="a", url=URL, topic="new", issuedAt="2025-12-31T10:00:04Z")
    assert (await world.record()).topic == "new"


@virtual_time
async def test_a_late_connect_does_not_undo_its_disconnect():
    world = World()
    await world.command("disconnect", id="a", issuedAt="2025-12-31T10:00:05Z")
    late = await world.command("connect", id="a", url=URL, issuedAt="2025-12-31T10:00:00Z")
    assert late["status"] == "superseded"
    assert (await world.record()).is_removed
    newer = await world.command("connect", id="a", url=URL, issuedAt="2025-12-31T10:00:06Z")
    assert newer["status"] == "accepted"


@virtual_time
async def test_a_publisher_in_the_year_2099_cannot_lock_a_connection():
    async with World().running() as world:
        await world.command("connect", id="a", url=URL, issuedAt="2099-01-01T00:00:00Z")
        await world.settle(1)
        assert (await world.command("disconnect", id="a"))["status"] == "accepted"


@virtual_time
async def test_aspects_are_ordered_each_for_itself():
    world = World()
    await world.command("connect", id="a", url=URL, issuedAt="2025-12-31T10:00:00Z")
    await world.command("setTags", id="a", tags={"x": "1"}, issuedAt="2025-12-31T10:00:09Z")
    topic = await world.command("startPublish", id="a", topic="t", issuedAt="2025-12-31T10:00:05Z")
    tags = await world.command("setTags", id="a", tags={"x": "0"}, issuedAt="2025-12-31T10:00:08Z")
    assert (topic["status"], tags["status"]) == ("accepted", "superseded")


@virtual_time
async def test_commands_of_two_processes_that_race_on_two_aspects_both_survive():
    one = World()
    await one.command("connect", id="a", url=URL)
    other = World(store=one.store)  # another process: no lock is shared, only the store

    async def let_the_other_go_on(operation: str, key: str) -> None:
        await asyncio.sleep(0)

    one.store.before = let_the_other_go_on
    async with asyncio.TaskGroup() as group:
        for number in range(5):
            group.create_task(one.command("setTags", id="a", tags={"n": str(number)}))
            group.create_task(other.command("startPublish", id="a", topic=f"t{number}"))
    record = await one.record()
    assert record.tags["n"] in "01234"
    assert (record.topic or "")[:1] == "t"
    assert len(record.outcomes) == 11


@virtual_time
async def test_two_commands_that_race_on_two_aspects_both_survive():
    world = World()
    await world.command("connect", id="a", url=URL)
    async with asyncio.TaskGroup() as group:
        for number in range(10):
            group.create_task(world.command("setTags", id="a", tags={"n": str(number)}))
            group.create_task(world.command("startPublish", id="a", topic=f"t{number}"))
    record = await world.record()
    assert (record.topic, record.tags) == ("t9", {"n": "9"})
    assert len(record.outcomes) == 16


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"{nonsense", "is not JSON"),
        (b"[1,2]", "must be a JSON object"),
        (b'"text"', "is not JSON"),
        (b"{}", "must be one of connect"),
        (b'{"command": "explode"}', "must be one of connect"),
        (b'{"command": 7}', "must be one of connect"),
        (b'{"command": "connect", "url": 7}', "url: Input should be a valid string"),
        (b'"' + b"x" * 5_000_000 + b'"', "longer than"),
    ],
)
def test_what_can_never_work_is_rejected_and_becomes_a_dead_letter_with_its_original_bytes(body: bytes, part: str):
    @virtual_time
    async def run():
        async with World().running() as world:
            outcome = await world.dispatch.deliver(body)
            await world.settle()
            assert outcome.status == "rejected"
            assert part in outcome.reason
            (letter,) = await world.dead_letters.read()
            assert (letter.event.data, letter.reason) == (body, outcome.reason)
            assert world.data("outcome")[0]["reason"] == outcome.reason

    run()


@pytest.mark.parametrize("wrap", ["raw", "string", "cloudevent", "cloudevent of a string"])
def test_a_command_is_read_in_every_wrapping(wrap: str):
    @virtual_time
    async def run():
        world = World()
        command: object = {"command": "connect", "id": "a", "url": URL}
        if "string" in wrap:
            command = json.dumps(command)
        if "cloudevent" in wrap:
            command = {"specversion": "1.0", "id": "e", "source": "s", "type": "t", "data": command}
        outcome = await world.dispatch.deliver(json.dumps(command).encode())
        assert outcome.status == "accepted"
        assert outcome.command_id == ("e" if "cloudevent" in wrap else outcome.command_id)

    run()


@virtual_time
async def test_reads_filter_by_tag_status_and_owner():
    async with World().running() as world:
        await world.connect("a", tags={"team": "x"})
        await world.connect("b", tags={"team": "y"})
        await world.command("disconnect", id="b", keep=True)
        await world.settle()

        async def ids(**filters):
            return [view["id"] for view in await world.command("connections", **filters)]

        assert await ids() == ["a", "b"]
        assert await ids(tag={"team": "x"}) == ["a"]
        assert await ids(status="Disconnected") == ["b"]
        assert await ids(owner="me") == ["a"]
