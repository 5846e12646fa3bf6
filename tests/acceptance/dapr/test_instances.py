"""Hosts by their ids, as real processes: one id for one process, a restart under the same id, and `drain`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.dapr.stack import HOST, PATIENCE_S, Pair, Stack, eventually, make_pair
from tests.sidecar import COMPONENTS

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]

LEASE_S = 4
QUICK = ("--heartbeat-interval-s", "1", "--lease-s", str(LEASE_S), "--instance-id")


@asynccontextmanager
async def another_host(stack: Stack, folder: Path, *args: str) -> AsyncIterator[Pair]:
    """One more host on the store of the stack; it is started, and gone at the end."""
    env = {**stack.redis.env, **stack.mosquitto.env, "SECRETS_FILE": str(stack.folder / "secrets.json")}
    pair = make_pair("host", HOST, folder, COMPONENTS / "local", env, *args)
    try:
        pair.spawn()
        yield pair
    finally:
        await asyncio.to_thread(pair.kill)


async def until_shown(stack: Stack, id_: str, condition: Callable[[dict[str, Any]], object], what: str) -> None:
    """Wait until the list of instances says something of a host."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while not any(host["id"] == id_ and condition(host) for host in await stack.outsider.invoke("instances")):
                await asyncio.sleep(0.2)
    except TimeoutError:
        raise AssertionError(f"{id_}: {what}: {await stack.outsider.invoke('instances')}") from None


async def test_a_second_process_under_the_same_id_ends_with_a_word_and_the_first_goes_on(stack: Stack, tmp_path: Path):
    async with another_host(stack, tmp_path, "--instance-id", "host-1") as second:
        assert await asyncio.to_thread(second.app.wait_ended, PATIENCE_S) == 1
        said = "error: another process runs under the instance id 'host-1': give each process a WSM_INSTANCE_ID of"
        assert said in second.app.tail()
    assert stack.host.app.is_alive
    await until_shown(stack, "host-1", lambda host: host["state"] == "running", "it still beats")


async def test_after_a_sigkill_the_next_process_waits_for_the_lease_and_after_a_sigterm_it_does_not(
    stack: Stack, tmp_path: Path
):
    async with another_host(stack, tmp_path, *QUICK, "restarted") as pair:
        await pair.until_up()
        await until_shown(stack, "restarted", lambda host: host["state"] == "running", "it beats")
        began = await _started_at(stack)
        pair.app.kill()
        await asyncio.to_thread(pair.app.start)
        await until_shown(stack, "restarted", lambda host: host["startedAt"] != began, "the next one beats")
        (waited,) = pair.app.logged("waiting_for_predecessor")
        assert (waited["instance"], waited["at_most_s"]) == ("restarted", LEASE_S)

        assert await asyncio.to_thread(pair.app.stop) == 0
        await until_shown(stack, "restarted", lambda host: host["state"] == "ended", "it has ended in order")
        await asyncio.to_thread(pair.app.start)
        await until_shown(stack, "restarted", lambda host: host["state"] == "running", "the third one beats")
        assert pair.app.logged("waiting_for_predecessor") == []


async def test_a_host_that_is_told_to_drain_does_and_the_next_process_is_not_bound_by_it(stack: Stack, tmp_path: Path):
    async with another_host(stack, tmp_path, *QUICK, "drained") as pair:
        await pair.until_up()
        await until_shown(stack, "drained", lambda host: host["state"] == "running", "it beats")
        outcome = await stack.outsider.invoke("drain", instance="nobody")
        assert outcome["status"] == "rejected", outcome
        await stack.outsider.command(command="drain", instance="nobody", commandId="drain-by-topic")
        stack.mqtt(command="drain", instance="drained", commandId="drain-by-binding")
        await eventually(lambda: stack.outsider.ends_of("drain-by-topic") == ["rejected"], "it ends by topic")
        await eventually(lambda: stack.outsider.ends_of("drain-by-binding") == ["accepted"], "it ends by binding")
        await until_shown(stack, "drained", lambda host: host["isDraining"], "its lease says that it drains")
        assert await asyncio.to_thread(pair.app.stop) == 0
        await asyncio.to_thread(pair.app.start)
        await until_shown(stack, "drained", lambda host: host["state"] == "running", "the next one claims again")


async def _started_at(stack: Stack) -> str:
    (host,) = [host for host in await stack.outsider.invoke("instances") if host["id"] == "restarted"]
    return str(host["startedAt"])
