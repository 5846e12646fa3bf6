"""Plays commands and faults on a whole manager and keeps account of what peers and callers have seen."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from runtime.adapters.memory.sockets import MemorySocket
from runtime.errors import PublishError, StoreError
from runtime.failure import Failure, FailureKind
from runtime.models.events import Event
from runtime.ports import Limits
from tests.unit.world import World

IDS = ("a", "b")
OPTIONS = {"reconnectMaxDelayS": 2, "reconnectAttempts": 0, "queueMaxMessages": 5, "pingIntervalS": 0}
LIMITS = Limits(heartbeat_interval_s=1, sweep_interval_s=4, max_connections=10)
QUIET_S = 12  # longer than every backoff, time to live and sweep that a history can set going


class Player:
    """Plays steps on a whole manager and keeps account of what the peers and the callers have seen."""

    def __init__(self) -> None:
        self.world = World(LIMITS)
        self.pushed: dict[str, tuple[str, datetime]] = {}  # payload: connection and time
        self.read: dict[str, datetime] = {}
        self.lost: set[MemorySocket] = set()
        self.commands: list[tuple[str, dict[str, Any]]] = []
        self.answers: dict[str, list[str]] = defaultdict(list)
        self.failing = {"store": 0, "sink": 0}
        self.is_late = {"store": False, "sink": False}
        self.issued = self.kills = 0
        self._wire()

    def _wire(self) -> None:
        store, publisher = self.world.store, self.world.publisher
        put = store.put

        async def before(operation: str, key: str) -> None:
            await asyncio.sleep(0.0005)
            if operation != "put" or not self.is_late["store"]:
                self._strike("store", StoreError("broken by the history"))

        async def putting(key: str, value: bytes, etag: str | None) -> None:
            await put(key, value, etag)
            if self.is_late["store"]:
                self._strike("store", StoreError("written, but nobody is told so"))

        async def publishing(events: Sequence[Event]) -> None:
            await asyncio.sleep(0.0005)
            if self.failing["sink"] and self.is_late["sink"]:
                publisher.events.extend(events[: 1 + len(events) // 2])
            self._strike("sink", PublishError("broken by the history"))

        def on_read(payload: str | bytes) -> None:
            self.read[str(payload)] = self.world.clock.now()

        def on_dial(socket: MemorySocket) -> None:
            socket.on_read = on_read

        store.before, publisher.before = before, publishing
        self.world.dialer.on_dial = on_dial
        store.put = putting  # type: ignore[method-assign]

    def _strike(self, port: str, error: Exception) -> None:
        if self.failing[port]:
            self.failing[port] -= 1
            raise error

    async def start(self) -> None:
        self.world.new_host()
        while True:
            try:
                await self.world.manager.begin()
                break
            except StoreError:
                continue
        self.running = asyncio.create_task(self.world.manager.run())

    async def play(self, steps: Sequence[tuple[Any, ...]]) -> None:
        await self.start()
        await self._connect("a", "t", True, "block")
        await self._connect("b", "t", True, "drop_oldest")
        await asyncio.sleep(0.3)
        for name, *details in steps:
            await getattr(self, f"_{name}")(*details)
            assert not self.running.done(), self.running
        self.failing = dict.fromkeys(self.failing, 0)
        self.world.dialer.failures.clear()
        await asyncio.sleep(QUIET_S)
        assert not self.running.done(), self.running

    async def close(self) -> None:
        await self.world.crash([self.running])

    async def _wait(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _tell(self, name: str, fields: dict[str, Any]) -> None:
        try:
            outcome = await self.world.command(name, **fields)
        except StoreError:
            return
        if outcome["reason"].startswith("no connection"):
            self.commands.remove((name, fields))  # there is nothing to remember it by: a repeat is judged anew
        else:
            self.answers[fields["commandId"]].append(outcome["status"])

    async def _new(self, name: str, **fields: Any) -> None:
        self.issued += 1
        self.commands.append((name, {**fields, "commandId": f"c{self.issued}"}))
        await self._tell(*self.commands[-1])

    async def _connect(self, id_: str, topic: str, auto_reconnect: bool, overflow: str) -> None:
        options = {**OPTIONS, "overflow": overflow}
        url = f"wss://feed.example/{id_}"
        fields = {"url": url, "topic": topic, "autoReconnect": auto_reconnect, "options": options}
        await self._new("connect", id=id_, replace=True, **fields)

    async def _disconnect(self, id_: str, keep: bool) -> None:
        await self._new("disconnect", id=id_, keep=keep)

    async def _reconnect(self, id_: str) -> None:
        await self._new("reconnect", id=id_)

    async def _startPublish(self, id_: str, topic: str) -> None:  # noqa: N802 - the command's name
        await self._new("startPublish", id=id_, topic=topic)

    async def _send(self, id_: str) -> None:
        await self._new("send", id=id_, message="x", ttlS=5)

    async def _request(self, id_: str) -> None:
        await self._new("request", id=id_, message="x", match={"contains": "0"}, ttlS=5, timeoutS=1)

    async def _again(self, back: int) -> None:
        if back < len(self.commands):
            await self._tell(*self.commands[-1 - back])

    def open_sockets(self, id_: str) -> list[Any]:
        return [s for s in self.world.dialer.sockets if s.is_open and s.dial.url.endswith(f"/{id_}")]

    async def _frames(self, id_: str, count: int) -> None:
        for socket in [s for s in self.open_sockets(id_) if s not in self.lost]:
            for _ in range(count):
                payload = f"{id_}{len(self.pushed)}"
                self.pushed[payload] = (id_, self.world.clock.now())
                socket.push(payload)

    async def _lose(self, id_: str, code: int | None) -> None:
        for socket in self.open_sockets(id_):
            self.lost.add(socket)
            socket.lose(code)

    async def _refuse(self, kind: FailureKind, count: int) -> None:
        self.world.dialer.failures += [Failure(kind, "refused by the history")] * count

    async def _store(self, is_late: bool, count: int) -> None:
        self.failing["store"], self.is_late["store"] = count, is_late

    async def _sink(self, is_late: bool, count: int) -> None:
        self.failing["sink"], self.is_late["sink"] = count, is_late

    async def _sweep(self) -> None:
        try:
            await self.world.sweep()
        except StoreError:
            return

    async def _kill(self) -> None:
        self.kills += 1
        await self.close()
        for socket in self.world.dialer.sockets:
            socket.is_open = False  # the kernel closes what a dead process held
        await self.start()

    async def _stop(self) -> None:
        self.kills += 1  # events may be lost in a stop, too, while the sink is away for longer than its deadline
        await self.world.manager.stop(self.running)
        assert [s for s in self.world.dialer.sockets if s.is_open] == []
        await self.start()
