"""Several whole managers over one store and one set of topics, in virtual time, each with sockets of its own."""

from __future__ import annotations

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from runtime.adapters.memory.dead_letters import MemoryDeadLetters
from runtime.adapters.memory.publisher import MemoryPublisher
from runtime.adapters.memory.sockets import MemoryDialer, MemoryResolver, MemorySocket
from runtime.adapters.memory.store import MemoryStore
from runtime.assembly import Manager, assemble
from runtime.errors import StoreError
from runtime.guard import Guard
from runtime.models.connection import WebSocketConnection
from runtime.models.instance import Instance
from runtime.ports import Limits, Ports, Stored
from tests.unit.world import URL, Quiet
from tests.virtual_time import FakeClock

SHARED = "websocket-host"
LIMITS = Limits(heartbeat_interval_s=5, sweep_interval_s=600, lease_s=15)


class View:
    """The store as one host sees it: it may be cut off."""

    def __init__(self, store: MemoryStore) -> None:
        self.store, self.is_cut = store, False

    async def _reach(self) -> None:
        await asyncio.sleep(0.002)
        if self.is_cut:
            raise StoreError("cut off by the history")

    async def get(self, key: str) -> Stored | None:
        await self._reach()
        return await self.store.get(key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        await self._reach()
        return await self.store.get_many(keys)

    async def put(self, key: str, value: bytes, etag: str | None) -> None:
        await self._reach()
        await self.store.put(key, value, etag)

    async def delete(self, key: str, etag: str) -> None:
        await self._reach()
        await self.store.delete(key, etag)


class Topics:
    """Nudges: those who subscribed to a topic get them in turn. `is_lossy`: none arrives."""

    def __init__(self) -> None:
        self.subscribed: dict[str, list[Callable[[str], None]]] = defaultdict(list)
        self.sent: list[tuple[str, str]] = []
        self.is_lossy = False

    async def nudge(self, topic: str, connection_id: str) -> None:
        self.sent.append((topic, connection_id))
        callbacks = self.subscribed[topic]
        if callbacks and not self.is_lossy:
            callbacks.append(callbacks.pop(0))
            callbacks[-1](connection_id)

    def forget(self, callbacks: Sequence[Callable[[str], None]]) -> None:
        for subscribed in self.subscribed.values():
            subscribed[:] = [each for each in subscribed if each not in callbacks]


class Member:
    """One process with a host."""

    def __init__(self, cluster: Cluster, id_: str, incarnation: int) -> None:
        self.id, self.cluster = id_, cluster
        self.dialer, self.observer = MemoryDialer(), Quiet()
        now = cluster.clock.now()
        me = Instance(id=id_, incarnation=f"{id_}{incarnation}", started_at=now, read_until=now)
        self.manager: Manager = cluster.assemble(me, self.dialer, self.observer)
        assert self.manager.resident is not None
        self.resident = self.manager.resident
        self.host, self.sweeper = self.resident.host, self.resident.sweeper
        self.running: asyncio.Task[None] | None = None
        self._callbacks = [self.host.assign, self.host.nudge]

    def start(self) -> None:
        self.running = asyncio.create_task(self.manager.run())
        self.cluster.topics.subscribed[SHARED].append(self._callbacks[0])
        self.cluster.topics.subscribed[f"{SHARED}-{self.id}"].append(self._callbacks[1])

    async def kill(self) -> None:
        """What SIGKILL does: everything stops where it is, and the kernel closes the sockets."""
        assert self.running is not None
        self.cluster.topics.forget(self._callbacks)
        self.host.is_draining = True
        tasks = [self.running, *self.host._tasks.values()]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for socket in self.dialer.sockets:
            socket.is_open = False

    async def stop(self) -> None:
        """What SIGTERM does."""
        assert self.running is not None
        await self.manager.stop(self.running)
        self.cluster.topics.forget(self._callbacks)

    @property
    def held(self) -> set[str]:
        return set(self.host.keepers)

    def socket_of(self, id_: str) -> MemorySocket:
        return [s for s in self.dialer.sockets if s.is_open and s.dial.url.startswith(f"{url_of(id_)}?")][-1]


class Cluster:
    """`members` by id; commands go to a process without a host. `random` is that of all."""

    def __init__(self, count: int = 3, limits: Limits = LIMITS, store: MemoryStore | None = None) -> None:
        self.limits = limits
        self.store = store or MemoryStore()
        self.clock, self.publisher, self.topics = FakeClock(), MemoryPublisher(), Topics()
        self.dead_letters = MemoryDeadLetters(self.publisher)
        self.random = lambda: 0.5
        self.handlers = self.assemble(None, MemoryDialer(), Quiet())
        self.records = self.handlers.context.records
        self.members: dict[str, Member] = {}
        self._started: Counter[str] = Counter()
        for id_ in "ABCDEFGHIJ"[:count]:
            self.new(id_)

    def assemble(self, me: Instance | None, dialer: MemoryDialer, observer: Quiet) -> Manager:
        ports = Ports(
            self.store,
            self.publisher,
            self.topics,
            self.dead_letters,
            MemoryResolver(),
            dialer,
            self.clock,
            lambda: self.random(),
            observer,
        )
        return assemble(ports, self.limits, Guard(allow_private=False), instance=me, shares_records=True)

    def new(self, id_: str) -> Member:
        """A process under this id that is not started yet; a second time: what a restart makes of it."""
        self._started[id_] += 1
        self.members[id_] = Member(self, id_, self._started[id_])
        return self.members[id_]

    @asynccontextmanager
    async def running(self):
        handlers = asyncio.create_task(self.handlers.run())
        for member in self.members.values():
            member.start()
        await self.settle()
        try:
            yield self
        finally:
            for member in self.members.values():
                if member.running is not None and not member.running.done():
                    await member.kill()
            handlers.cancel()
            await asyncio.wait({handlers})

    async def command(self, name: str, **fields: Any) -> dict[str, Any]:
        return json.loads(await self.handlers.dispatch.invoke(name, json.dumps(fields).encode()))

    async def connect(self, *ids: str, **fields: Any) -> None:
        """Connections with auto-reconnect; returns when the commands are accepted."""
        for id_ in ids:
            body = {"id": id_, "url": f"{url_of(id_)}?token=secret", "topic": "t", "autoReconnect": True, **fields}
            outcome = await self.command("connect", **body)
            assert outcome["status"] == "accepted", outcome

    async def settle(self, seconds: float = 0.2) -> None:
        await asyncio.sleep(seconds)

    async def record(self, id_: str) -> WebSocketConnection:
        record = await self.records.get(id_)
        assert record is not None
        return record

    def loads(self) -> dict[str, int]:
        return {id_: len(member.host.keepers) for id_, member in self.members.items() if not _is_over(member)}

    def holders_of(self, id_: str) -> list[str]:
        return [m.id for m in self.members.values() if not _is_over(m) and id_ in m.host.keepers]

    def data(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(event.data) for event in self.publisher.events if event.type.endswith(f".{kind}")]


def url_of(id_: str) -> str:
    return URL.partition("?")[0] + f"/{id_}"


def _is_over(member: Member) -> bool:
    return member.running is None or member.running.done()
