"""What a manager does that finds no sidecar, a wrong one, or one with tokens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import aiohttp
import grpc
import pytest
from dapr.proto.common.v1.common_pb2 import InvokeRequest, InvokeResponse

from tests.acceptance.dapr.stack import App, Outsider, eventually
from tests.processes import free_ports
from tests.sidecar import COMPONENTS, Sidecar

pytestmark = pytest.mark.acceptance

TOKEN, APP_TOKEN = "open-sesame", "barley"


@pytest.fixture(scope="module")
def sidecar(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """With tokens, and not started."""
    (app_port,) = free_ports(1)
    env = {"DAPR_API_TOKEN": TOKEN, "APP_API_TOKEN": APP_TOKEN}
    folder = tmp_path_factory.mktemp("sidecar")
    sidecar = Sidecar("websocket-handlers", COMPONENTS / "memory", folder, app_port=app_port, env=env)
    try:
        yield sidecar
    finally:
        sidecar.kill()


@pytest.fixture
def app(sidecar: Sidecar, tmp_path: Path) -> Iterator[App]:
    """A manager with the right tokens, and not started."""
    assert sidecar.app_port is not None
    tokens = {"DAPR_API_TOKEN": TOKEN, "APP_API_TOKEN": APP_TOKEN}
    app = App("all", tmp_path, app_port=sidecar.app_port, grpc_port=sidecar.grpc_port, **tokens)
    try:
        yield app
    finally:
        app.kill()


def test_without_a_sidecar_it_waits_says_so_and_ends_with_3_after_the_limit(app: App):
    app.command += ["--sidecar-timeout-s", "2"]
    app.spawn()
    assert app.wait_ended() == 3
    (waiting,) = app.logged("waiting_for_sidecar")
    assert waiting["limit_s"] == 2
    assert app.tail().splitlines()[-1].startswith("error: no Dapr sidecar answered at 127.0.0.1:")


async def test_a_sidecar_that_comes_later_is_waited_for_and_tokens_keep_strangers_out(app: App, sidecar: Sidecar):
    app.spawn()
    await eventually(lambda: app.logged("waiting_for_sidecar"), "it says that it waits")
    sidecar.spawn()
    await eventually(lambda: app.logged("started") and sidecar.is_healthy, "both are up")
    stranger = InvokeRequest(method="connections")
    for shown in ((), (("dapr-api-token", "oats"),)):
        assert await _call(app.app_port, stranger, shown) is grpc.StatusCode.UNAUTHENTICATED
    assert await _call(app.app_port, stranger, (("dapr-api-token", APP_TOKEN),)) is grpc.StatusCode.OK
    async with aiohttp.ClientSession(trust_env=False, headers=sidecar.headers) as session:
        assert await Outsider(sidecar, session).invoke("connections") == []


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--pubsub", "bus"], "the sidecar has no pubsub component 'bus'; loaded: "),
        (["--statestore", "pubsub"], "the sidecar has no state component 'pubsub'; loaded: "),
    ],
    ids=["missing", "of-another-kind"],
)
def test_a_missing_or_misnamed_component_ends_it_with_1_and_what_is_there(
    app: App, sidecar: Sidecar, options: list[str], says: str
):
    _start(sidecar)
    app.command += options
    app.spawn()
    assert app.wait_ended() == 1
    last = app.tail().splitlines()[-1]
    assert says in last
    assert "statestore (state.in-memory)" in last
    assert "Traceback" not in app.tail()


@pytest.mark.parametrize("token", ["wrong", ""])
def test_a_wrong_token_is_refused_with_what_to_do(app: App, sidecar: Sidecar, token: str):
    _start(sidecar)
    app.env["DAPR_API_TOKEN"] = token
    app.spawn()
    assert app.wait_ended() == 1
    last = app.tail().splitlines()[-1]
    assert "refuses our token: set DAPR_API_TOKEN to the one that it was started with" in last
    assert TOKEN not in app.tail()


def _start(sidecar: Sidecar) -> None:
    if not sidecar.is_alive:
        sidecar.spawn()


async def _call(port: int, request: InvokeRequest, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    """Call the app itself, as only its sidecar may."""
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(
            "/dapr.proto.runtime.v1.AppCallback/OnInvoke",
            request_serializer=InvokeRequest.SerializeToString,
            response_deserializer=InvokeResponse.FromString,
        )
        try:
            await call(request, timeout=10, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK
