"""Names: one that is slow, hangs or does not exist harms nobody else."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
from contextlib import suppress
from threading import Event

import pytest

from runtime.adapters.resolver import AT_ONCE, SystemResolver
from runtime.adapters.sockets import WebSocketDialer
from runtime.failure import FailureKind
from runtime.guard import Guard
from runtime.host.dialing import GuardedDialer
from runtime.models.options import WebSocketOptions
from tests.dialling import OPTIONS, dialer, failure_of
from tests.loops import on_both_loops
from tests.peers import behave, listening, until

pytestmark = pytest.mark.integration


async def test_a_name_that_does_not_exist_is_a_transient_failure():
    failure = await failure_of(dialer().dial("ws://nothing.invalid/", OPTIONS))
    assert failure.kind is FailureKind.TRANSIENT
    assert "cannot be resolved" in failure.reason


@on_both_loops
async def test_slow_names_hold_up_neither_addresses_nor_other_names():
    held, asked = Event(), []

    def ask(host: str) -> list[str]:
        asked.append(host)
        if host.startswith("slow"):
            held.wait(60)
        return ["127.0.0.1"]

    guarded = GuardedDialer(SystemResolver(ask), WebSocketDialer(), Guard(True), 2)
    async with listening(behave) as peer, asyncio.TaskGroup() as group:
        slow = [
            group.create_task(guarded.dial(f"ws://slow{number % 3}.invalid:{peer.port}/", OPTIONS))
            for number in range(2 * AT_ONCE)
        ]
        await until(lambda: len(asked) == 3, "the slow names are asked for")
        for host in ("127.0.0.1", "fast.invalid"):
            async with asyncio.timeout(20):
                (await guarded.dial(f"ws://{host}:{peer.port}/", OPTIONS)).close_now()
        assert not any(task.done() for task in slow)
        held.set()
        for task in slow:
            (await task).close_now()
        assert sorted(asked) == ["fast.invalid", "slow0.invalid", "slow1.invalid", "slow2.invalid"]


async def test_a_look_up_outlives_those_who_gave_up_and_serves_those_who_wait():
    held, asked = Event(), []

    def ask(host: str) -> list[str]:
        asked.append(host)
        held.wait(60)
        return ["127.0.0.1"]

    resolver = SystemResolver(ask)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await resolver.resolve("slow.invalid", 80)
    waiting = asyncio.create_task(resolver.resolve("slow.invalid", 80))
    await asyncio.sleep(0)
    held.set()
    assert await waiting == ["127.0.0.1"]
    assert asked == ["slow.invalid"]
    assert await resolver.resolve("slow.invalid", 80) == ["127.0.0.1"]
    assert len(asked) == 2


async def test_a_look_up_that_fails_after_all_have_given_up_is_no_error_of_the_process():
    held, complaints = Event(), []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))

    def ask(host: str) -> list[str]:
        held.wait(60)
        raise OSError("no such name")

    resolver = SystemResolver(ask)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await resolver.resolve("slow.invalid", 80)
    held.set()
    await until(lambda: not resolver._flying, "the look-up has ended")
    gc.collect()
    assert not complaints


def test_a_look_up_that_hangs_does_not_keep_the_process_from_ending():
    code = """
import asyncio, time
from runtime.adapters.resolver import SystemResolver
async def main():
    try:
        async with asyncio.timeout(0.1):
            await SystemResolver(lambda host: time.sleep(600) or []).resolve("slow.invalid", 80)
    except TimeoutError:
        print("gave up")
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "gave up\n"
    assert ended.stderr == ""


async def test_an_answer_that_comes_after_its_loop_has_ended_hurts_nobody():
    held = Event()

    def ask(host: str) -> list[str]:
        held.wait(60)
        return []

    async def give_up() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await SystemResolver(ask).resolve("slow.invalid", 80)

    await asyncio.to_thread(asyncio.run, give_up())
    held.set()  # an exception in the thread would be a warning, that is an error


async def test_a_slow_name_counts_against_the_connect_timeout():
    held = Event()

    def ask(host: str) -> list[str]:
        held.wait(60)
        return []

    guarded = GuardedDialer(SystemResolver(ask), WebSocketDialer(), Guard(True), 1)
    failure = await failure_of(guarded.dial("ws://slow.invalid/", WebSocketOptions(connect_timeout_s=0.1)))
    held.set()
    assert "connectTimeoutS" in failure.reason
