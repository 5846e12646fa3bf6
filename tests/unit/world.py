"""A whole manager over fakes, in virtual time: store, topics, sockets and clock are all in hand."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from contextlib import asynccontextmanager
from typing import Any

from runtime.adapters.memory.dead_letters import MemoryDeadLetters
from runtime.adapters.memory.publisher import MemoryNudges, MemoryPublisher
from runtime.adapters.memory.sockets import MemoryDialer, MemoryResolver, MemorySocket
from runtime.adapters.memory.store import MemoryStore
from runtime.assembly import assemble
from runtime.guard import Guard
from runtime.models.connection import WebSocketConnection
from runtime.models.instance import Instance
from runtime.ports import NO_METERS, Limits, Meters, Ports
from runtime.sources import Sources
from tests.virtual_time import FakeClock

URL = "wss://feed.example/stream?token=secret"


class Quiet:
    def __init__(self) -> None:
        self.warnings: list[tuple[str, dict[str, object]]] = []

    def log(self, event: str, **fields: object) -> None:
        pass

    def warn(self, event: str, **fields: object) -> None:
        self.warnings.append((event, fields))


class World:
    def __init__(
        self,
        limits: Limits | None = None,
        store: MemoryStore | None = None,
        meters: Meters = NO_METERS,
        sources: Sources | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.store = store or MemoryStore()
        self.publisher = MemoryPublisher()
        self.dead_letters = MemoryDeadLetters(self.publisher)
        self.dialer = MemoryDialer()
        self.resolver = MemoryResolver()
        self.clock = FakeClock()
        self.observer = Quiet()
        self.meters = meters
        self.random = lambda: 0.5
        self.sources = sources or Sources()
        self.new_host()

    def new_host(self) -> None:
        """What a restart of the process makes new; the store stays."""
        self.nudges = MemoryNudges()
        ports = Ports(
            self.store,
            self.publisher,
            self.nudges,
            self.dead_letters,
            self.resolver,
            self.dialer,
            self.clock,
            lambda: self.random(),
            self.observer,
            self.meters,
            self.sources,
        )
        now = self.clock.start
        me = Instance(id="me", incarnation="1", started_at=now, read_until=now)
        manager = assemble(ports, self.limits, Guard(allow_private=False), instance=me)
        assert manager.resident is not None
        self.manager, self.resident, self.dispatch = manager, manager.resident, manager.dispatch
        self.host = self.resident.host
        self.records, self.announcer = manager.context.records, manager.announcer
        self.nudges.callbacks = {"websocket-host": self.host.assign, "websocket-host-me": self.host.nudge}

    @asynccontextmanager
    async def running(self):
        parts = [self.resident.lanes.run, self.manager.events_lanes.run, self.resident.writer.run, self.host.run]
        tasks = [asyncio.create_task(part()) for part in parts]
        try:
            yield self
        finally:
            await self.crash(tasks)

    async def sweep(self) -> Mapping[str, int]:
        """A full pass over all records."""
        return await self.resident.sweeper.sweep()

    async def drain(self) -> None:
        """What an orderly stop does: sockets closed, then everything published."""
        await self.host.close()
        await self.host.flush()
        await self.announcer.queue.wait_until_empty()

    async def crash(self, tasks) -> None:
        """What SIGKILL does: everything stops where it is."""
        tasks = [*tasks, *self.host._tasks.values()]
        self.host.is_draining = True
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def command(self, name: str, **fields: Any) -> dict[str, Any]:
        return json.loads(await self.dispatch.invoke(name, json.dumps(fields).encode()))

    async def connect(self, id_: str = "a", **fields: Any) -> MemorySocket:
        """connect with auto-reconnect, and wait until the socket is open."""
        body = {"id": id_, "url": URL, "topic": "t", "autoReconnect": True, **fields}
        outcome = await self.command("connect", **body)
        assert outcome["status"] == "accepted", outcome
        await self.settle()
        return self.dialer.sockets[-1]

    async def settle(self, seconds: float = 0.2) -> None:
        """Let everything happen that happens within a moment."""
        await asyncio.sleep(seconds)

    async def record(self, id_: str = "a") -> WebSocketConnection:
        record = await self.records.get(id_)
        assert record is not None
        return record

    def data(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(event.data) for event in self.publisher.events if event.type.endswith(f".{kind}")]

    def statuses(self) -> list[str]:
        return [data["status"] for data in self.data("status")]

    def payloads(self) -> list[str]:
        return [data["payload"] for data in self.data("frame")]
