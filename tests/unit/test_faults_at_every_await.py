"""Whatever breaks at whatever moment of a connect: within one sweep, record and sockets agree again."""

from __future__ import annotations

import asyncio

import pytest

from runtime.errors import PublishError, StoreError
from runtime.failure import DialError, Failure, FailureKind, SocketLost
from runtime.models.status import ConnectionStatus
from runtime.ports import Dial, Stored
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time

FAILURE = Failure(FailureKind.TRANSIENT, "broken by the test")
ERRORS = {
    "store": StoreError("broken by the test"),
    "publisher": PublishError("broken by the test"),
    "resolver": DialError(FAILURE),
    "dialer": DialError(FAILURE),
    "socket": SocketLost(FAILURE),
}
STEPS = range(1, 30)


class Driver:
    """Counts every call of a port; at number `target` it does what `strike` says."""

    def __init__(self, world: World, target: int, strike: str) -> None:
        self.world, self.target, self.strike = world, target, strike
        self.count = 0
        self.struck: str | None = None
        self.victim: asyncio.Task | None = None
        self.is_crashed = asyncio.Event()
        self._wire()

    def _wire(self) -> None:
        world, store = self.world, self.world.store

        async def before_store(operation: str, key: str) -> None:
            await self.step("store")

        async def before_publish(events) -> None:
            await self.step("publisher")

        async def before_dial(dial: Dial) -> None:
            await self.step("dialer")

        resolve, put = world.resolver.resolve, store.put

        async def resolving(host: str, port: int) -> list[str]:
            await self.step("resolver")
            return await resolve(host, port)

        async def putting(key: str, value: bytes, etag: str | None) -> None:
            await put(key, value, etag)
            await self.step("store")  # written, but nobody is told so

        def on_dial(socket) -> None:
            send = socket.send

            async def sending(message) -> None:
                await self.step("socket")
                await send(message)

            socket.send = sending

        store.before = before_store
        world.publisher.before = before_publish
        world.dialer.before = before_dial
        world.dialer.on_dial = on_dial
        world.resolver.resolve = resolving  # type: ignore[method-assign]
        store.put = putting  # type: ignore[method-assign]

    async def step(self, port: str) -> None:
        await asyncio.sleep(0)
        self.count += 1
        if self.count != self.target:
            return
        self.struck = port
        if self.strike == "fail":
            raise ERRORS[port]
        if asyncio.current_task() is self.victim:
            raise asyncio.CancelledError
        self.is_crashed.set()
        await asyncio.Event().wait()


async def scenario(world: World, driver: Driver) -> None:
    body = {"id": "a", "url": URL, "topic": "t", "autoReconnect": True, "options": {"openingMessages": ["hello"]}}
    driver.victim = asyncio.create_task(world.command("connect", **body))
    await asyncio.wait({driver.victim})
    if not driver.victim.cancelled() and driver.victim.exception() is not None:
        assert isinstance(driver.victim.exception(), StoreError)
    await world.settle(3)
    driver.target = 0


async def agrees(world: World) -> None:
    stored: Stored | None = world.store.values.get("websocket-a")
    is_open = [socket for socket in world.dialer.sockets if socket.is_open]
    if stored is None:
        assert is_open == []
        return
    record = await world.record()
    assert await world.records.ids() == ["a"]
    assert record.status is ConnectionStatus.CONNECTED
    assert record.instance_id == "me"
    assert len(is_open) == 1
    assert is_open[0].sent == ["hello"]
    is_open[0].push("alive")
    await world.settle()
    assert world.data("frame")[-1]["payload"] == "alive"
    assert world.data("frame")[-1]["epoch"] == record.epoch


@pytest.mark.parametrize("target", STEPS)
def test_a_failing_port_leaves_no_lasting_disagreement(target: int):
    @virtual_time
    async def run():
        world = World()
        driver = Driver(world, target, "fail")
        async with world.running():
            await scenario(world, driver)
            await world.sweep()
            await world.settle(3)
            await agrees(world)

    run()


@pytest.mark.parametrize("target", STEPS)
def test_a_cancelled_caller_or_a_dead_process_leaves_no_lasting_disagreement(target: int):
    @virtual_time
    async def run():
        world = World()
        driver = Driver(world, target, "cancel")
        async with world.running():
            playing = asyncio.create_task(scenario(world, driver))
            crashed = asyncio.create_task(driver.is_crashed.wait())
            await asyncio.wait({playing, crashed}, return_when=asyncio.FIRST_COMPLETED)
            if not driver.is_crashed.is_set():
                await world.sweep()
                await world.settle(3)
                await agrees(world)
                crashed.cancel()
                return
            assert driver.victim is not None
            driver.victim.cancel()
            playing.cancel()
            await asyncio.wait({playing, driver.victim})
        for socket in world.dialer.sockets:
            socket.is_open = False  # the kernel closes what a dead process held
        world.new_host()
        async with world.running():
            await world.sweep()
            await world.settle(3)
            await agrees(world)

    run()


def test_the_driver_reaches_every_port():
    struck: list[str | None] = []

    @virtual_time
    async def run(target: int):
        world = World()
        driver = Driver(world, target, "fail")
        async with world.running():
            await scenario(world, driver)
        struck.append(driver.struck)

    for target in STEPS:
        run(target)
    assert set(ERRORS) <= set(struck)
    assert struck[-1] is None, "there are more awaits than steps: raise STEPS"
