"""Who may call the endpoint, and what is said when its port cannot be had."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from runtime.errors import PermanentError
from tests.embedded import INVOKE, PUBLISH, Called, embedded

pytestmark = pytest.mark.integration

CONNECT = {"command": "connect", "id": "a", "url": "ws://127.0.0.1:9/"}


@pytest.fixture
async def wsm(tmp_path: Path):
    async with embedded(tmp_path) as called:
        yield called


# ---- who may call


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Host": "evil.example"},
        {"Host": "evil.example:3500"},
        {"Host": "127.0.0.1"},
        {"Host": ""},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_browsers_page_of_another_origin_and_a_rebound_name_are_refused(wsm: Called, headers: dict[str, str]):
    for verb, path in [("POST", PUBLISH + "websocket-commands"), ("GET", INVOKE + "connections")]:
        status, answer = await wsm.call(verb, path, data=json.dumps(CONNECT), headers=headers)
        assert status == 403
        assert answer["errorCode"] in {"ERR_FOREIGN_ORIGIN", "ERR_FOREIGN_HOST"}
    assert await wsm.invoke("connections") == []


async def test_its_own_names_are_not_foreign(wsm: Called):
    port = wsm.manager.endpoint.port
    for name in ("127.0.0.1", "localhost", "LOCALHOST", "[::1]"):
        headers = {"Host": f"{name}:{port}", "Origin": f"http://{name}:{port}", "Sec-Fetch-Site": "same-origin"}
        assert await wsm.call("GET", INVOKE + "connections", headers=headers) == (200, [])


async def test_with_a_token_only_who_has_it_may_call(tmp_path: Path):
    async with embedded(tmp_path, api_token="secret") as wsm:
        for headers in ({}, {"dapr-api-token": "wrong"}, {"dapr-api-token": ""}, {"dapr-api-token": "\N{SNOWMAN}"}):
            status, answer = await wsm.call("GET", INVOKE + "connections", headers=headers)
            assert (status, answer["errorCode"]) == (401, "ERR_TOKEN")
            assert "secret" not in answer["message"]
        headers = {"dapr-api-token": "secret"}
        assert await wsm.call("GET", INVOKE + "connections", headers=headers) == (200, [])


# ---- the port


HOLDER = """
import socket, time
held = socket.create_server(("127.0.0.1", 0))
print(held.getsockname()[1], flush=True)
time.sleep(60)
"""


async def test_a_taken_port_names_its_holder(tmp_path: Path):
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        port = int(await asyncio.to_thread(holder.stdout.readline))
        with pytest.raises(
            PermanentError, match=rf"port {port} is taken by python\S* \(process {holder.pid}\): stop it"
        ):
            async with embedded(tmp_path, port=port):
                pass
    finally:
        holder.kill()
        holder.communicate()


@pytest.mark.parametrize("how", ["unnamed", "forbidden", "gone"])
async def test_a_port_whose_holder_may_not_be_inspected_is_still_said_to_be_taken(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
):
    real = psutil.net_connections

    def connections(kind: str):
        if how == "forbidden":
            raise psutil.AccessDenied
        return [connection._replace(pid=None if how == "unnamed" else 2**31 - 1) for connection in real(kind)]

    monkeypatch.setattr(psutil, "net_connections", connections)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        with pytest.raises(PermanentError, match=rf"port {port} is taken by another (user's )?process: stop it"):
            async with embedded(tmp_path, port=port):
                pass


async def test_an_address_that_cannot_be_had_is_not_called_a_taken_port(tmp_path: Path):
    with pytest.raises(PermanentError, match=r"cannot listen on 127.999.0.1 port 0: "):
        async with embedded(tmp_path, host="127.999.0.1"):
            pass


async def test_a_start_that_fails_leaves_what_the_manager_before_it_said_last(tmp_path: Path):
    async with embedded(tmp_path):
        pass
    stopped = datetime.now(UTC)
    with socket.create_server(("127.0.0.1", 0)) as held, pytest.raises(PermanentError):
        async with embedded(tmp_path, port=held.getsockname()[1]):
            pass
    async with embedded(tmp_path) as wsm:
        read_until = wsm.manager.resident.host.inheritance.read_until
    assert read_until is not None
    assert read_until <= stopped  # else the gap of the next epoch would begin too late
