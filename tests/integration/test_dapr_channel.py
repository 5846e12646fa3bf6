"""The channel to a real sidecar: waiting for it, its death, its return, a hang, and its token."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

import grpc
import pytest

from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.errors import PermanentError, SidecarAbsentError
from tests.contract.sidecars import write_component
from tests.embedded import Observed
from tests.loops import on_both_loops
from tests.peers import listening, until
from tests.processes import free_ports
from tests.sidecar import Sidecar, running_sidecar

pytestmark = pytest.mark.integration

NOTICED_S = 1.0
BUSY_S = 5.0
"""What a busy machine may add to a bound."""


@pytest.fixture
def resources(tmp_path: Path) -> Path:
    folder = tmp_path / "resources"
    folder.mkdir()
    write_component(folder, "statestore", "state.in-memory")
    return folder


@asynccontextmanager
async def channel_to(port: int, token: str | None = None) -> AsyncIterator[Channel]:
    channel = Channel(f"127.0.0.1:{port}", token)
    try:
        yield channel
    finally:
        await channel.close()


@asynccontextmanager
async def watching(channel: Channel, observed: Observed) -> AsyncIterator[None]:
    task = asyncio.create_task(channel.watch(observed))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def seconds_until(condition: Callable[[], object], what: str) -> float:
    start = monotonic()
    await until(condition, what)
    return monotonic() - start


async def test_a_sidecar_that_comes_late_is_waited_for_and_said_so(resources: Path, tmp_path: Path):
    sidecar, observed = Sidecar("late", resources, tmp_path), Observed()
    async with channel_to(sidecar.grpc_port) as channel:
        waiting = asyncio.create_task(channel.until_up(60, observed))
        await until(lambda: observed.logs, "it says that it waits")
        async with running_sidecar(sidecar):
            await waiting
        assert channel.is_reachable
    assert observed.logs == [("waiting_for_sidecar", {"address": channel.address, "limit_s": 60})]


async def test_a_sidecar_that_is_there_is_not_worth_a_word(resources: Path, tmp_path: Path):
    observed = Observed()
    sidecar = Sidecar("there", resources, tmp_path)
    async with running_sidecar(sidecar), channel_to(sidecar.grpc_port) as channel:
        await channel.until_up(10, observed)
        answer = await channel.look()
    assert {component.name: component.type for component in answer.registered_components} == {
        "statestore": "state.in-memory"
    }
    assert observed.logs == []


async def test_a_sidecar_that_does_not_come_is_given_up_with_what_to_do():
    (nobody,) = free_ports(1)
    async with channel_to(nobody) as channel:
        with pytest.raises(SidecarAbsentError, match=f"answered at 127.0.0.1:{nobody} within 0.5 s: start it, or set"):
            await channel.until_up(0.5, Observed())


async def test_what_accepts_and_says_nothing_is_given_up_in_time():
    async with listening(lambda talk: talk.until_gone()) as peer, channel_to(peer.port) as channel:
        start = monotonic()
        with pytest.raises(SidecarAbsentError):
            await channel.until_up(0.5, Observed())
        assert monotonic() - start < 0.5 + BUSY_S


async def test_building_a_channel_connects_to_nobody():
    async with listening(lambda talk: talk.until_gone()) as peer, channel_to(peer.port):
        await asyncio.sleep(0.2)
        assert peer.dials == 0


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_a_wrong_token_is_refused_at_once_with_what_to_do(resources: Path, tmp_path: Path, token: str | None):
    env = {"DAPR_API_TOKEN": "sesame"}
    async with running_sidecar(Sidecar("guarded", resources, tmp_path, env=env)) as sidecar:
        async with channel_to(sidecar.grpc_port, token) as channel:
            with pytest.raises(PermanentError, match="refuses our token: set DAPR_API_TOKEN"):
                await channel.until_up(30, Observed())
        async with channel_to(sidecar.grpc_port, "sesame") as channel:
            await channel.until_up(30, Observed())


@on_both_loops
async def test_death_and_return_are_noticed_within_a_second_and_nothing_is_restarted(resources: Path, tmp_path: Path):
    sidecar, observed = Sidecar("mortal", resources, tmp_path), Observed()
    async with running_sidecar(sidecar), channel_to(sidecar.grpc_port) as channel, watching(channel, observed):
        await until(lambda: channel.is_reachable, "it is there")
        for _ in range(2):
            await asyncio.to_thread(sidecar.kill)
            assert await seconds_until(lambda: not channel.is_reachable, "it is away") < NOTICED_S + BUSY_S
            await asyncio.sleep(1.5)  # long enough for the longest pause between two attempts
            sidecar.spawn()
            await asyncio.to_thread(sidecar.wait_ready)
            assert await seconds_until(lambda: channel.is_reachable, "it is back") < NOTICED_S + BUSY_S
            await channel.look()
    assert [name for name, _ in observed.warnings] == ["sidecar_away"] * 2
    assert [name for name, _ in observed.logs] == ["sidecar_back"] * 3


async def test_a_sidecar_that_hangs_is_away_and_every_call_ends(resources: Path, tmp_path: Path):
    sidecar = Sidecar("hung", resources, tmp_path)
    async with running_sidecar(sidecar), channel_to(sidecar.grpc_port) as channel, watching(channel, Observed()):
        await until(lambda: channel.is_reachable, "it is there")
        sidecar.pause()
        with pytest.raises(grpc.aio.AioRpcError) as hung:
            await channel.look(1.0)
        assert hung.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: not channel.is_reachable, "it is away")
        sidecar.resume()
        assert await seconds_until(lambda: channel.is_reachable, "it is back") < NOTICED_S + BUSY_S
