"""What a command of `wsm` does when no manager answers, another thing does, or one that refuses or is too slow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from runtime.cli.calls import CallFailed
from runtime.cli.client import Client
from runtime.settings import EndpointSettings
from tests.wsm import Background, World, free_port, http, raw_server, world, wsm

pytestmark = pytest.mark.integration


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with Background(world(tmp_path)) as running:
        yield running.value


def test_when_nothing_listens_the_code_is_3_and_says_what_to_do():
    port = free_port()
    for args in (["list"], ["disconnect", "a"], ["export"], ["tail"], ["dead-letters"]):
        result = wsm(*args, port=port)
        assert (result.code, result.stdout) == (3, "")
        assert f"nothing answers at http://127.0.0.1:{port}: start a manager with `wsm run`" in result.stderr


def test_the_port_may_come_from_either_variable(here: World):
    assert wsm("list", WSM_PORT=str(here.port), DAPR_HTTP_PORT="1").code == 0
    assert wsm("list", DAPR_HTTP_PORT=str(here.port)).code == 0


@asynccontextmanager
async def sidecar_of_an_app_that_has_just_started(looks: int) -> AsyncIterator[int]:
    """Answers as daprd does until it has looked at its app."""
    left = looks

    async def invoke(request: web.Request) -> web.Response:
        nonlocal left
        left -= 1
        if left >= 0:
            text = "failed to invoke, id: websocket-handlers, err: rpc error: desc = app is not in a healthy state"
            return web.json_response({"errorCode": "ERR_DIRECT_INVOKE", "message": text}, status=500)
        return web.json_response([])

    app = web.Application()
    app.router.add_post("/v1.0/invoke/websocket-handlers/method/connections", invoke)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield runner.addresses[0][1]
    await runner.cleanup()


def test_a_command_waits_until_the_sidecar_has_seen_an_app_that_has_just_started():
    with Background(sidecar_of_an_app_that_has_just_started(2)) as running:
        assert wsm("list", "--json", port=running.value).code == 0


def test_an_app_that_stays_unhealthy_is_told_in_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runtime.cli.client.APP_PATIENCE_S", 0.5)
    with Background(sidecar_of_an_app_that_has_just_started(1000)) as running:
        result = wsm("list", port=running.value)
    assert result.code == 1
    assert "app is not in a healthy state (HTTP 500)" in result.stderr


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
        assert wsm("connect", "ws://x", "--id", "a", "--wait", port=port).code == 1


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
