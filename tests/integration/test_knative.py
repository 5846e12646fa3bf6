"""What `deploy/knative` starts, without Knative: handlers driven as a Trigger does, and what containers command."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from runtime.models.events import COMMAND
from tests.acceptance.dapr.stack import App, eventually
from tests.processes import free_ports
from tests.sidecar import COMPONENTS, ROOT, Sidecar, running_sidecar
from tests.wsm import Background, world, wsm

pytestmark = pytest.mark.integration

FOLDER = ROOT / "deploy" / "knative" / "handlers"
CONNECT = {"command": "connect", "id": "prices", "url": "wss://feed.example/prices", "topic": "prices"}


def manifest(name: str) -> Any:
    return yaml.safe_load((FOLDER / name).read_text())


async def test_a_command_that_a_trigger_posts_is_a_record_by_the_time_it_is_answered(tmp_path: Path):
    (container,) = manifest("service.yaml")["spec"]["template"]["spec"]["containers"]
    env = {each["name"]: each["value"] for each in container["env"]}
    assert container["args"] == ["--mode", "handlers"]
    app_port, events_port, ops_port = free_ports(3)
    env |= {"WSM_EVENTS_HOST": "127.0.0.1", "WSM_OPS_HOST": "127.0.0.1"}  # a test listens to nobody outside
    env |= {"WSM_APP_PORT": str(app_port), "WSM_EVENTS_PORT": str(events_port), "WSM_OPS_PORT": str(ops_port)}
    sidecar = Sidecar("websocket-handlers", COMPONENTS / "memory", tmp_path, app_port=app_port)
    async with running_sidecar(sidecar):
        app = App("handlers", tmp_path, app_port=app_port, grpc_port=sidecar.grpc_port, **env)
        try:
            app.spawn()
            await asyncio.to_thread(app.wait_ready)
            kind = manifest("trigger.yaml")["spec"]["filter"]["attributes"]["type"]
            assert kind == COMMAND
            assert await post(events_port, CONNECT, kind) == 204
            await eventually(lambda: sidecar.is_healthy, "the sidecar has found the app")
            assert [view["id"] for view in await connections(sidecar)] == ["prices"]
            assert await post(events_port, {"command": "explode"}, kind) == 204, "an outcome, not to be tried again"
            assert await post(events_port, None, kind) == 400, "Knative's dead-letter sink is for it"
        finally:
            await asyncio.to_thread(app.kill)


@pytest.mark.parametrize("file", ["container-source.yaml", "embedded/manager.yaml"])
def test_what_a_container_says_to_the_manager_beside_it_is_accepted_however_often_it_starts(file: str, tmp_path: Path):
    text = " ".join((FOLDER.parent / file).read_text().split())
    (line,) = re.findall(r"until (wsm [^;]+);", text)
    line = line.replace("/connections/", f"{FOLDER.parent / 'embedded'}/")
    with Background(world(tmp_path)) as here:
        for _ in range(2):
            said = wsm(*shlex.split(line)[1:], port=here.value.port)
            assert (said.code, said.stderr) == (0, "")
        assert [view["id"] for view in wsm("list", "--json", port=here.value.port).lines()] == ["prices"]


async def post(port: int, command: dict[str, str] | None, kind: str) -> int:
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/me", "ce-type": kind}
    if command is None:
        headers = {"ce-specversion": "1.0"}
    url = f"http://127.0.0.1:{port}/"
    headers["content-type"] = "application/json"
    body = json.dumps(command or {})
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.post(url, data=body, headers=headers) as answer,
    ):
        return answer.status


async def connections(sidecar: Sidecar) -> Any:
    url = f"{sidecar.url}/invoke/{sidecar.app_id}/method/connections"
    async with aiohttp.ClientSession(trust_env=False) as session, session.post(url, json={}) as answer:
        return json.loads(await answer.read())
