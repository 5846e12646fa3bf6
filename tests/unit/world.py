"""A whole manager over fakes, in virtual time: store, topics, sockets and clock are all in hand."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import Any

from handlers import QUERIES, ROUTES
from runtime.adapters.memory.publisher import MemoryNudges, MemoryPublisher
from runtime.adapters.memory.sockets import MemoryDialer, MemoryResolver, MemorySocket
from runtime.adapters.memory.store import MemoryStore
from runtime.context import Context
from runtime.dispatch import Dispatch
from runtime.host.announcer import Announcer
from runtime.host.dialing import GuardedDialer
from runtime.host.host import Host
from runtime.host.publisher import Lane, Lanes
from runtime.host.status import StatusWriter
from runtime.host.tools import Tools
from runtime.models.connection import WebSocketConnection
from runtime.ports import Limits, Names
from runtime.records import Records
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
    def __init__(self, limits: Limits | None = None, store: MemoryStore | None = None) -> None:
        self.limits = limits or Limits()
        self.names = Names()
        self.store = store or MemoryStore()
        self.publisher = MemoryPublisher()
        self.dialer = MemoryDialer()
        self.resolver = MemoryResolver()
        self.clock = FakeClock()
        self.observer = Quiet()
        self.random = lambda: 0.5
        self.new_host()

    def new_host(self) -> None:
        """What a restart of the process makes new; the store stays."""
        self.nudges = MemoryNudges()
        self.records = Records(self.store, self.clock, self.random)
        self.lane = Lane(self.publisher, self.clock, self.random, self.observer, self._refused)
        self.events_lane = Lane(self.publisher, self.clock, self.random, self.observer, self._refused)
        self.announcer = Announcer(self.events_lane, self.clock, self.names, self.limits, self.observer)
        self.writer = StatusWriter(self.records, self.clock, self.observer, 4, lambda id_: self.host.nudge(id_))
        guarded = GuardedDialer(self.resolver, self.dialer, False, self.limits.max_handshakes)
        tools = Tools(
            self.records, guarded, self.announcer, self.writer, self.clock, lambda: self.random(), self.observer
        )
        self.host = Host("me", tools, Lanes([self.lane]), self.limits, lambda record: True)
        self.nudges.callbacks = {"websocket-host": self.host.nudge, "websocket-host-me": self.host.nudge}
        context = Context(self.records, self.nudges, self.clock, self.names, self.limits, self.host, self.host.vitals)
        self.dispatch = Dispatch(ROUTES, QUERIES, context, self.announcer.announce)

    def _refused(self, *refused) -> None:
        self.announcer.refused(*refused)

    @asynccontextmanager
    async def running(self):
        parts = [self.lane.run, self.events_lane.run, self.writer.run, self.host.run]
        tasks = [asyncio.create_task(part()) for part in parts]
        try:
            yield self
        finally:
            await self.crash(tasks)

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
