"""`/livez`, `/readyz` and `/metrics` of the real process, embedded; of a sidecar's apps see `test_ops_on_sidecar`."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runtime.adapters.clock import SystemClock
from runtime.adapters.memory.store import MemoryStore
from runtime.adapters.ops import Ops
from runtime.errors import PermanentError
from runtime.ports import Gauges
from tests.acceptance.manager import ManagerProcess, managing
from tests.processes import free_ports

pytestmark = pytest.mark.integration


async def ask(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession(trust_env=False) as session, session.get(f"http://127.0.0.1:{port}{path}") as got:
        return got.status, await got.text()


async def checks(port: int, path: str) -> tuple[int, dict[str, Any]]:
    """The status, and the reason of each check."""
    status, text = await ask(port, path)
    return status, {name: check["reason"] for name, check in json.loads(text)["checks"].items()}


def ops_port(manager: ManagerProcess) -> int:
    return int(manager.logged("started")[-1]["ops"].rpartition(":")[2])


async def test_a_running_manager_is_alive_and_ready_and_shows_its_numbers(tmp_path: Path):
    async with managing(tmp_path, "--ops-port", "0") as manager:
        port = ops_port(manager)
        assert await checks(port, "/livez") == (200, {"parts": None})
        status, reasons = await checks(port, "/readyz")
        assert (status, reasons) == (200, dict.fromkeys(("parts", "loop", "store", "lock", "lease")))
        await manager.ask("disconnect", id="nobody")
        status, page = await ask(port, "/metrics")
        assert status == 200
        assert 'wsm_commands_total{command="disconnect",status="accepted"} 1.0' in page
        assert 'profile="embedded"' in page
        assert 'wsm_loop_tick_lag_seconds_bucket{le="0.25"}' in page


async def test_a_lock_that_is_gone_is_not_ready(tmp_path: Path):
    async with managing(tmp_path, "--ops-port", "0") as manager:
        lock = tmp_path / "data" / "lock"
        lock.rename(tmp_path / "moved")
        status, reasons = await checks(ops_port(manager), "/readyz")
        assert status == 503
        assert "cannot be looked at" in reasons["lock"]
        lock.touch()
        assert "was replaced" in (await checks(ops_port(manager), "/readyz"))[1]["lock"]


async def test_without_ops_nothing_listens(tmp_path: Path):
    async with managing(tmp_path, "--no-ops") as manager:
        assert manager.logged("started")[-1]["ops"] == "off"


async def test_a_port_that_was_asked_for_and_is_taken_ends_the_start(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(AssertionError, match=f"port {port} is taken by .* --ops-port, or --no-ops"):
            await ManagerProcess(tmp_path, "--ops-port", str(port)).start()


@asynccontextmanager
async def answering(clock: Any = None) -> AsyncIterator[Ops]:
    ops = Ops(clock or SystemClock(), {}, host="127.0.0.1", port=0)
    await ops.start()
    try:
        yield ops
    finally:
        await ops.stop()


async def test_before_and_after_the_manager_it_is_alive_but_not_ready():
    async with answering() as ops:
        assert await checks(ops.port, "/livez") == (200, {"parts": None})
        assert await checks(ops.port, "/readyz") == (503, {"started": "the manager is starting"})
        running = asyncio.create_task(asyncio.sleep(60))
        ops.watch(Gauges, MemoryStore(), {"own": lambda: None}, running)
        assert (await checks(ops.port, "/readyz"))[0] == 200
        ops.stopping()
        assert await checks(ops.port, "/readyz") == (503, {"started": "the manager is stopping"})
        running.cancel()


async def test_a_part_that_has_ended_is_neither_alive_nor_ready():
    async with answering() as ops:
        running = asyncio.create_task(asyncio.sleep(0))
        ops.watch(Gauges, MemoryStore(), {"sidecar": lambda: "it does not answer"}, running)
        await running
        assert await checks(ops.port, "/livez") == (503, {"parts": "a part of the manager has ended"})
        status, reasons = await checks(ops.port, "/readyz")
        assert status == 503
        assert {name for name, reason in reasons.items() if reason} == {"parts", "sidecar"}


async def test_the_default_port_when_taken_is_gone_without(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ops = Ops(SystemClock(), {}, host="127.0.0.1", port=port)
        await ops.start(is_wanted=False)
        assert f"port {port} is taken" in ops.where
        await ops.stop()


async def test_an_address_that_is_not_ours_is_refused():
    (port,) = free_ports(1)
    ops = Ops(SystemClock(), {}, host="192.0.2.1", port=port)
    with pytest.raises(PermanentError, match=r"cannot listen on 192\.0\.2\.1"):
        await ops.start()
    await ops.stop()
