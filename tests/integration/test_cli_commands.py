"""The commands of `wsm` that change something, against a real endpoint: outcomes, exit codes, both outputs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.wsm import Background, Result, World, free_port, publish, raw_server, world, wsm

pytestmark = pytest.mark.integration


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with Background(world(tmp_path)) as running:
        yield running.value


def connected(here: World, id_: str = "a", *args: str) -> Result:
    return wsm("connect", here.feed.url, "--id", id_, "--auto-reconnect", "--wait", *args, port=here.port)


def view(here: World, id_: str = "a") -> dict:
    return wsm("show", id_, "--json", port=here.port).json()


def test_connect_waits_until_connected_and_says_so(here: World):
    result = connected(
        here, "a", "--topic", "t", "--tag", "k=v", "--tag", "empty=", "--options", '{"closeTimeoutS": 1}'
    )
    assert (result.code, result.stdout, result.stderr) == (0, "a: created\na: Connected\n", "")
    record = view(here)
    assert (record["status"], record["topic"], record["tags"]) == ("Connected", "t", {"k": "v", "empty": ""})
    assert record["options"]["closeTimeoutS"] == 1


def test_connect_makes_up_an_id_that_is_left_out(here: World):
    outcome = wsm("connect", here.feed.url, "--json", port=here.port).json()
    assert outcome["status"] == "accepted"
    assert view(here, outcome["connectionId"])["url"].endswith("token=***")


def test_json_is_one_document_even_while_waiting(here: World):
    result = connected(here, "a", "--json")
    assert result.code == 0
    assert result.json()["reason"] == "created"


def test_what_is_refused_ends_with_1_and_its_reason_on_standard_error(here: World):
    refused = wsm("connect", "http://x", "--id", "a", port=here.port)
    assert (refused.code, refused.stdout) == (1, "")
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.endswith("must start with ws:// or wss://\n")
    as_json = wsm("reconnect", "unknown", "--json", port=here.port)
    assert as_json.code == 1
    assert as_json.json()["status"] == "rejected"
    assert "connect it first" in as_json.stderr


def test_an_option_that_is_not_known_is_a_warning(here: World):
    result = wsm("connect", here.feed.url, "--options", '{"pingIntervallS": 1}', port=here.port)
    assert result.code == 0
    assert result.stderr == "warning: unknown option 'pingIntervallS' was ignored\n"


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["connect", "ws://x", "--tag", "novalue"], "KEY=VALUE"),
        (["connect", "ws://x", "--tag", "=v"], "KEY=VALUE"),
        (["connect", "ws://x", "--options", "{"], "not JSON"),
        (["connect", "ws://x", "--options", "[]"], "must be a JSON object"),
        (["connect", "ws://x", "--options", "@/no/such/file"], "cannot be read"),
        (["send", "a"], "either TEXT or --file"),
        (["send", "a", "text", "--file", "-"], "either TEXT or --file"),
        (["send", "a", "--file", "/no/such/file"], "cannot be read"),
        (["connect"], "Missing argument"),
        (["nonsense"], "No such command"),
    ],
)
def test_wrong_usage_ends_with_2_before_anything_is_called(args: list[str], why: str):
    result = wsm(*args, port=free_port())
    assert (result.code, result.stdout) == (2, "")
    assert why in " ".join(result.stderr.replace("│", " ").split())


def test_options_may_come_from_a_file(here: World, tmp_path: Path):
    (tmp_path / "options.json").write_text('{"reconnectAttempts": 9}')
    assert connected(here, "a", "--options", f"@{tmp_path}/options.json").code == 0
    assert view(here)["options"]["reconnectAttempts"] == 9


def test_a_connection_that_has_ended_ends_the_wait_with_1(here: World):
    url = f"ws://127.0.0.1:{free_port()}/"
    result = wsm("connect", url, "--id", "a", "--wait", port=here.port)
    assert result.code == 1
    assert result.stdout == "a: created\n"
    assert result.stderr.startswith("error: 'a' has ended: ")


def test_a_wait_that_lasts_too_long_ends_with_4_and_tells_the_status(here: World):
    with Background(raw_server(None)) as silent:
        url = f"ws://127.0.0.1:{silent.value}/"
        result = wsm("connect", url, "--id", "a", "--wait", "--wait-timeout", "0.3", port=here.port)
        assert (result.code, result.stdout) == (4, "a: created\n")
        assert result.stderr.startswith("error: 'a' is Connecting after 0.3 s")
        assert wsm("disconnect", "a", port=here.port).code == 0


def test_a_wait_for_a_replacement_is_not_satisfied_by_the_socket_that_it_replaces(here: World):
    assert connected(here).code == 0
    unchanged = connected(here)
    assert (unchanged.code, unchanged.stdout) == (0, "a: unchanged\na: Connected\n")
    with Background(raw_server(None)) as silent:
        url = f"ws://127.0.0.1:{silent.value}/"
        flags = ("--id", "a", "--auto-reconnect", "--replace", "--wait", "--wait-timeout", "0.5")
        for _ in range(3):
            result = wsm("connect", url, *flags, port=here.port)
            assert (result.code, result.stdout) == (4, "a: replaced url\n")
            assert connected(here, "a", "--replace").code == 0
        assert wsm("disconnect", "a", port=here.port).code == 0


def test_the_life_of_a_connection_by_commands(here: World):
    port = here.port
    assert connected(here).code == 0
    said = [
        wsm("start-publish", "a", "prices", port=port),
        wsm("stop-publish", "a", port=port),
        wsm("tag", "a", "x=1", "y=2", port=port),
        wsm("tag", "a", port=port),
        wsm("reconnect", "a", port=port),
        wsm("disconnect", "a", "--keep", port=port),
        wsm("disconnect", "a", port=port),
    ]
    assert [(result.code, result.stderr) for result in said] == [(0, "")] * len(said)
    assert [result.stdout for result in said] == [
        "a: publishing to prices\n",
        "a: publishing to no topic\n",
        "a: 2 tags set\n",
        "a: 0 tags set\n",
        said[4].stdout,
        "a: disconnected, record kept\n",
        "a: disconnected and removed\n",
    ]
    assert wsm("list", "--json", port=port).stdout == ""


def test_drain_names_the_host_and_refuses_one_that_is_not_there(here: World):
    told = wsm("drain", "me", port=here.port)
    assert (told.code, told.stdout) == (0, "'me' hands its connections over and claims no more\n")
    refused = wsm("drain", "other", port=here.port)
    assert (refused.code, refused.stdout) == (1, "")
    assert refused.stderr == "error: no instance 'other' is known; `wsm instances` lists them\n"
    assert wsm("drain", "me", "--json", port=here.port).json()["connectionId"] is None


def test_send_waits_until_it_was_sent(here: World, tmp_path: Path):
    assert connected(here).code == 0
    assert wsm("send", "a", "hello", port=here.port).stdout == "a: sent\n"
    assert wsm("send", "a", "--file", "-", port=here.port, stdin="grüße".encode()).code == 0
    (tmp_path / "bytes").write_bytes(b"\xff\x00")
    sent = wsm("send", "a", "--file", str(tmp_path / "bytes"), "--binary", "--json", port=here.port)
    assert sent.json()["status"] == "done"
    assert here.feed.heard == ["hello", "grüße", str(b"\xff\x00")]


def test_text_that_is_not_utf_8_needs_binary(here: World):
    result = wsm("send", "a", "--file", "-", port=here.port, stdin=b"\xff")
    assert result.code == 2
    assert "use --binary" in result.stderr


@pytest.mark.parametrize(("flag", "limit"), [([], 262144), (["--binary"], 196608)])
def test_a_message_above_the_limit_is_refused_and_the_limit_named(here: World, tmp_path: Path, flag, limit):
    assert connected(here).code == 0
    (tmp_path / "fits").write_bytes(b"x" * limit)
    assert wsm("send", "a", "--file", str(tmp_path / "fits"), *flag, port=here.port).code == 0
    (tmp_path / "big").write_bytes(b"x" * 6 * 1024 * 1024)
    result = wsm("send", "a", "--file", str(tmp_path / "big"), *flag, port=here.port)
    assert (result.code, result.stdout) == (1, "")
    assert f"longer than {limit} bytes" in result.stderr


def test_send_to_a_disconnected_connection_is_refused(here: World):
    assert connected(here).code == 0
    assert wsm("disconnect", "a", "--keep", port=here.port).code == 0
    result = wsm("send", "a", "hello", port=here.port)
    assert result.code == 1
    assert "reconnect it before sending" in result.stderr


def test_request_prints_the_answer_alone(here: World):
    assert connected(here).code == 0
    question = '{"id": 7}'
    result = wsm("request", "a", question, "--match", "/id", "--timeout", "10", port=here.port)
    assert (result.code, json.loads(result.stdout), result.stderr) == (0, {"id": 7, "answer": 42}, "")
    as_json = wsm("request", "a", question, "--match", "/id", "--json", port=here.port)
    assert json.loads(as_json.json()["answer"]) == {"id": 7, "answer": 42}


def test_an_answer_is_told_apart_by_a_value_and_by_a_text(here: World):
    assert connected(here).code == 0
    for matching in (
        ("--match", "/answer", "--equals", "42"),
        ("--match", "/id", "--equals", "peer"),
        ("--contains", '"answer"'),
    ):
        result = wsm("request", "a", '{"id": "peer"}', *matching, "--timeout", "10", port=here.port)
        assert (result.code, json.loads(result.stdout)["answer"]) == (0, 42), result.stderr
    result = wsm(
        "request", "a", '{"id": 1}', "--match", "/answer", "--equals", "43", "--timeout", "0.2", port=here.port
    )
    assert result.code == 4


def test_a_binary_answer_is_printed_byte_for_byte(here: World):
    async def echo(connection: ServerConnection) -> None:
        async for message in connection:
            await connection.send(str(message).encode())

    @asynccontextmanager
    async def peers() -> AsyncIterator[str]:
        async with serve(echo, "127.0.0.1", 0) as server:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    with Background(peers()) as server:
        assert wsm("connect", server.value, "--id", "a", "--wait", port=here.port).code == 0
        result = wsm("request", "a", "raw", port=here.port)
        assert wsm("disconnect", "a", port=here.port).code == 0
    assert (result.code, result.stdout) == (0, "raw")


def test_what_a_newer_command_has_overtaken_is_a_warning(here: World):
    later = (datetime.now(UTC) + timedelta(seconds=4)).isoformat()
    publish(here.port, "websocket-commands", command="connect", id="a", url=here.feed.url, issuedAt=later)
    result = wsm("reconnect", "a", port=here.port)
    assert result.code == 0
    assert result.stderr.startswith("warning: ")


def test_request_without_an_answer_in_time_ends_with_4(here: World):
    assert connected(here).code == 0
    result = wsm("request", "a", '{"id": "x", "q": 1}', "--match", "/q", "--timeout", "0.2", port=here.port)
    assert (result.code, result.stdout) == (4, "")
    assert "no answer" in result.stderr


def test_a_long_timeout_of_a_request_is_no_contradiction(here: World):
    assert connected(here).code == 0
    assert wsm("request", "a", '{"id": 7}', "--match", "/id", "--timeout", "120", port=here.port).code == 0


def test_version_and_help():
    assert wsm("--version").stdout.startswith("0.")
    helped = wsm("--help")
    assert helped.code == 0
    for name in ("run", "demo", "connect", "dead-letters", "apply", "tail"):
        assert f" {name} " in helped.stdout
