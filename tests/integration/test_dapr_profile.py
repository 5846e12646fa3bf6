"""The whole manager of the dapr profile in this process, on a real sidecar with the component set `memory`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from runtime.dapr import start_dapr
from runtime.errors import PermanentError, SidecarAbsentError
from runtime.feed import local_feed
from runtime.models.constants import connection_key
from runtime.settings import Settings
from tests.embedded import Observed
from tests.peers import until
from tests.processes import free_ports
from tests.sidecar import COMPONENTS, Sidecar, running_sidecar

pytestmark = pytest.mark.integration


@asynccontextmanager
async def sidecar_of_memory(folder: Path) -> AsyncIterator[Sidecar]:
    (app_port,) = free_ports(1)
    async with running_sidecar(
        Sidecar("websocket-handlers", COMPONENTS / "memory", folder, app_port=app_port)
    ) as sidecar:
        yield sidecar


def settings_for(sidecar: Sidecar, **more: Any) -> Settings:
    ports = {"app_port": sidecar.app_port, "dapr_grpc_port": sidecar.grpc_port, "allow_private": True, "mode": "all"}
    return Settings(profile="dapr", instance_id="me", **{**ports, **more})


async def invoke(sidecar: Sidecar, method: str, **body: Any) -> Any:
    url = f"{sidecar.url}/invoke/{sidecar.app_id}/method/{method}"
    async with aiohttp.ClientSession(trust_env=False) as session, session.post(url, json=body) as answer:
        assert answer.status == 200, await answer.read()
        return orjson.loads(await answer.read())


async def test_a_connection_lives_from_connect_by_the_sidecar_to_the_drain(tmp_path: Path):
    observed = Observed()
    async with local_feed(0.05) as feed, sidecar_of_memory(tmp_path) as sidecar:
        async with start_dapr(settings_for(sidecar), observed) as running:
            await until(lambda: sidecar.is_healthy, "the sidecar has found the app", patience_s=60)
            outcome = await invoke(sidecar, "connect", id="a", url=feed.url, topic="prices", autoReconnect=True)
            assert outcome["status"] == "accepted"
            await _until_sequence(sidecar, 3)
            (view,) = await invoke(sidecar, "connections")
            assert (view["status"], view["instanceId"]) == ("Connected", "me")
            assert not running.background.done()
        record = await _record(sidecar, "a")
    assert [event for event, _ in observed.logs] == ["started"]
    assert observed.warnings == []
    assert (record["desired"], record["instanceId"]) == ("connected", None), "the drain leaves it to the next owner"
    assert record["readUntil"]


async def test_without_a_component_or_a_sidecar_it_does_not_start_and_leaves_its_port(tmp_path: Path):
    observed = Observed()
    async with sidecar_of_memory(tmp_path) as sidecar:
        for _ in range(2):  # the second one would find the port taken
            with pytest.raises(PermanentError, match="has no pubsub component 'bus'"):
                async with start_dapr(settings_for(sidecar, pubsub="bus"), observed):
                    pytest.fail("it has started")
    with pytest.raises(SidecarAbsentError, match=r"within 0\.2 s: start it, or set DAPR_GRPC_PORT"):
        async with start_dapr(settings_for(sidecar, sidecar_timeout_s=0.2), observed):
            pytest.fail("it has started")
    assert [event for event, _ in observed.logs] == ["waiting_for_sidecar"]


async def _until_sequence(sidecar: Sidecar, sequence: int) -> None:
    async with asyncio.timeout(30):
        while ((await invoke(sidecar, "connection", id="a")).get("sequence") or 0) < sequence:
            await asyncio.sleep(0.05)


async def _record(sidecar: Sidecar, id_: str) -> Any:
    """What the store holds once the manager is gone."""
    url = f"{sidecar.url}/state/statestore/{connection_key(id_)}"
    async with aiohttp.ClientSession(trust_env=False) as session, session.get(url) as answer:
        return orjson.loads(await answer.read())
