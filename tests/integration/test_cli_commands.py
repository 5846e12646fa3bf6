"""The commands of `wsm` that change something, against a real endpoint: outcomes, exit codes, both outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from runtime.cli.calls import CallFailed
from runtime.cli.client import Client
from runtime.settings import EndpointSettings
from tests.wsm import Background, Result, World, free_port, http, raw_server, world, wsm

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


def test_request_without_an_answer_in_time_ends_with_4(here: World):
    assert connected(here).code == 0
    result = wsm("request", "a", "no question", "--match", "/id", "--timeout", "0.2", port=here.port)
    assert result.code in {1, 4}
    result = wsm("request", "a", '{"id": "x", "q": 1}', "--match", "/q", "--timeout", "0.2", port=here.port)
    assert (result.code, result.stdout) == (4, "")
    assert "no answer" in result.stderr


def test_a_long_timeout_of_a_request_is_no_contradiction(here: World):
    assert connected(here).code == 0
    assert wsm("request", "a", '{"id": 7}', "--match", "/id", "--timeout", "120", port=here.port).code == 0


def test_when_nothing_listens_the_code_is_3_and_says_what_to_do():
    port = free_port()
    for args in (["list"], ["disconnect", "a"], ["export"], ["tail"], ["dead-letters"]):
        result = wsm(*args, port=port)
        assert (result.code, result.stdout) == (3, "")
        assert f"nothing answers at http://127.0.0.1:{port}: start a manager with `wsm run`" in result.stderr


def test_the_port_may_come_from_either_variable(here: World):
    assert wsm("list", WSM_PORT=str(here.port), DAPR_HTTP_PORT="1").code == 0
    assert wsm("list", DAPR_HTTP_PORT=str(here.port)).code == 0


def test_a_port_that_is_none_is_wrong_usage():
    result = wsm("list", DAPR_HTTP_PORT="http")
    assert (result.code, result.stdout) == (2, "")
    assert result.stderr.startswith("error: DAPR_HTTP_PORT: must be a valid integer")


def test_a_wrong_token_ends_with_1_and_names_the_variable(tmp_path: Path):
    with Background(world(tmp_path, api_token="s3cret")) as running:
        port = running.value.port
        result = wsm("list", port=port, DAPR_API_TOKEN="wr0ng")
        assert result.code == 1
        assert result.stderr.endswith("set DAPR_API_TOKEN\n")
        assert "wr0ng" not in result.stderr
        assert wsm("list", port=port, DAPR_API_TOKEN="s3cret").code == 0
        assert wsm("tail", port=port).code == 1


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (http(b"<html>hello</html>"), "is no manager or sidecar"),
        (http(b"<html>no</html>", "404 Not Found"), "is no manager or sidecar (HTTP 404)"),
        (http(b"", "302 Found", b"Location: /elsewhere\r\n"), "is no manager or sidecar (HTTP 302)"),
        (http(b'"text"'), "is no manager or sidecar"),
        (http(b"[]"), "is no manager or sidecar"),
        (http(b"{}"), "is no manager or sidecar"),
        (b"220 mail.example ESMTP\r\n", "is no manager or sidecar"),
        (b"", "broke off without an answer"),
    ],
)
def test_something_that_is_no_sidecar_ends_with_3(answer: bytes, why: str):
    with Background(raw_server(answer)) as server:
        result = wsm("disconnect", "a", port=server.value)
    assert (result.code, result.stdout) == (3, "")
    assert why in result.stderr


@pytest.mark.parametrize(("method", "args"), [("list", ()), ("show", ("a",))])
def test_a_read_of_another_shape_is_no_sidecar_either(method: str, args: tuple[str, ...]):
    with Background(raw_server(http(b"7"))) as server:
        assert wsm(method, *args, port=server.value).code == 3


async def test_a_call_that_is_not_answered_ends_with_4():
    async with raw_server(None) as port, Client(EndpointSettings(port=port), timeout_s=0.1) as client:
        with pytest.raises(CallFailed, match=r"did not answer within 0\.1 s") as failed:
            await client.read_many("connections")
    assert failed.value.exit_code == 4


async def test_a_send_that_does_not_end_gives_up_with_4_and_says_how_to_ask_again(tmp_path: Path):
    async with world(tmp_path) as here, Client(EndpointSettings(port=here.port)) as client:
        with pytest.raises(CallFailed, match="`wsm outcome a c1` tells its end later") as failed:
            await client.end_of("c1", "a", 0.2)
    assert failed.value.exit_code == 4


async def test_waiting_for_an_end_does_not_hide_other_failures(tmp_path: Path):
    async with world(tmp_path, api_token="s3cret") as here, Client(EndpointSettings(port=here.port)) as client:
        with pytest.raises(CallFailed, match="401"):
            await client.end_of("c1", "a", 5)


def test_an_ipv6_address_of_the_endpoint_is_written_with_brackets():
    assert Client(EndpointSettings(host="::1", port=1)).base == "http://[::1]:1"


def test_version_and_help():
    assert wsm("--version").stdout.startswith("0.")
    helped = wsm("--help")
    assert helped.code == 0
    for name in ("run", "demo", "connect", "dead-letters", "apply", "tail"):
        assert f" {name} " in helped.stdout
