"""Puts the embedded profile together: one process with state, topics, endpoint, handlers and host."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from uuid import uuid4

import orjson

from handlers import QUERIES, ROUTES, SWEEP
from runtime.adapters.clock import SystemClock
from runtime.adapters.embedded.bus import Bus
from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.adapters.embedded.endpoint import Callbacks, Endpoint
from runtime.adapters.embedded.http_sink import HttpSink
from runtime.adapters.embedded.lock import FolderLock
from runtime.adapters.embedded.sink import Sink
from runtime.adapters.embedded.stdout_sink import StdoutSink
from runtime.adapters.embedded.store import SqliteStore
from runtime.adapters.embedded.tail import Tail
from runtime.adapters.resolver import SystemResolver
from runtime.adapters.sockets import WebSocketDialer
from runtime.context import Context
from runtime.dispatch import CloudEventAttributes, Dispatch
from runtime.errors import StoreError
from runtime.host.announcer import Announcer
from runtime.host.dialing import GuardedDialer
from runtime.host.host import Host
from runtime.host.lease import Lease
from runtime.host.publisher import Lane, Lanes
from runtime.host.status import StatusWriter
from runtime.host.tools import Tools
from runtime.identity import InstanceIdProvider
from runtime.models.events import NOTICE, CloudEventEncoder, Event
from runtime.models.instance import Instance
from runtime.models.wire import format_time
from runtime.ports import Observer
from runtime.records import Records
from runtime.settings import Settings
from runtime.urls import mask_url

SOURCE = "websocket-manager"


@dataclass(frozen=True, slots=True)
class Embedded:
    """A running manager. `failed` ends when one of its parts has failed."""

    host: Host
    dispatch: Dispatch
    endpoint: Endpoint
    lease: Lease
    background: asyncio.Task[None]


@asynccontextmanager
async def start_embedded(settings: Settings, observer: Observer, sink: Sink | None = None) -> AsyncIterator[Embedded]:
    """Run the whole manager; leaving the block drains it. Raises ManagerError when it cannot start."""
    clock, limits, names = SystemClock(), settings.limits(), settings.names()
    async with AsyncExitStack() as stack:
        lock = FolderLock(settings.data)
        stack.callback(lock.release)
        store = await SqliteStore.open(settings.data / "state.db")
        stack.push_async_callback(store.close)
        sink = sink or _sink(settings)
        stack.push_async_callback(sink.close)
        tail = Tail(_lost_lines)
        letters = DeadLetterFile(settings.data / "dead-letters.jsonl")
        bus = Bus(sink, tail, CloudEventEncoder(SOURCE, names.pubsub), names, letters)
        records = Records(store, clock, random.random, limits.index_shards)
        resolver = SystemResolver()
        stack.callback(resolver.close)

        announcer: Announcer

        def lane() -> Lane:
            return Lane(bus, clock, random.random, observer, lambda *refused: announcer.refused(*refused))  # noqa: PLW0108 - made later

        events_lane = lane()
        announcer = Announcer(events_lane, clock, names, limits, observer)
        lanes = Lanes([lane() for _ in range(bus.lanes)])
        identity = InstanceIdProvider(settings.instance_id)
        me = identity.get_instance_id()
        writer = StatusWriter(records, clock, observer, limits.status_writes_in_flight, lambda id_: host.nudge(id_))  # noqa: PLW0108 - made later
        dialer = GuardedDialer(resolver, WebSocketDialer(), settings.allow_private, limits.max_handshakes)
        tools = Tools(records, dialer, announcer, writer, clock, random.random, observer)
        host = Host(me, tools, lanes, limits, lambda record: True)  # the folder's lock is the lease
        started = clock.now()
        instance = Instance(
            id=me,
            incarnation=identity.incarnation,
            version=version("websocket-manager"),
            started_at=started,
            read_until=started,
        )
        lease = Lease(
            instance,
            records,
            clock,
            observer,
            limits.heartbeat_interval_s,
            lambda: len(host.keepers),
            host.read_until,
        )
        context = Context(records, bus, clock, names, limits, host, host.vitals)
        dispatch = Dispatch(ROUTES, QUERIES, context, announcer.announce)
        bus.subscribe_nudges(names.host_topic, host.nudge)
        bus.subscribe_nudges(names.owner_topic(me), host.nudge)
        endpoint = _endpoint(settings, dispatch, announcer, tail)

        before = await lease.begin()
        host.predecessors_read_until = before.read_until if before else None

        async def sweeping() -> None:
            while True:
                try:
                    await SWEEP(context)
                except StoreError as error:
                    observer.warn("sweep_failed", reason=str(error))
                await clock.sleep(limits.sweep_interval_s)

        async def background() -> None:
            async with asyncio.TaskGroup() as group:
                for part in (events_lane.run, lanes.run, writer.run, host.run, lease.run, sweeping):
                    group.create_task(part())

        await endpoint.start()
        stack.push_async_callback(endpoint.stop)
        task = asyncio.create_task(background())
        stack.push_async_callback(_cancel, task)
        observer.log("started", port=endpoint.port, data=str(settings.data), instance=me, sink=_sink_name(settings))
        try:
            yield Embedded(host, dispatch, endpoint, lease, task)
        finally:
            await _drain(host, lease, observer, limits.drain_deadline_s)


def _lost_lines(lost: int) -> bytes:
    """What a reader of the tail is told that was too slow."""
    event_id, time = str(uuid4()), format_time(SystemClock().now())
    data = orjson.dumps({"reason": "this reader was too slow", "lost": lost})
    return CloudEventEncoder(SOURCE, "").encode(Event(event_id, "", NOTICE, "", time, data))


async def _drain(host: Host, lease: Lease, observer: Observer, deadline_s: float) -> None:
    try:
        async with asyncio.timeout(deadline_s):
            await host.drain()
            await lease.beat()
    except (TimeoutError, StoreError) as error:
        observer.warn("drain_incomplete", reason=str(error) or f"not done within {deadline_s:g} s")


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError, Exception):
        await task


def _sink(settings: Settings) -> Sink:
    if settings.sink == "stdout":
        return StdoutSink()
    return HttpSink(settings.sink, settings.sink_mode, SOURCE, settings.pubsub)


def _sink_name(settings: Settings) -> str:
    return mask_url(settings.sink)


def _endpoint(settings: Settings, dispatch: Dispatch, announcer: Announcer, tail: Tail) -> Endpoint:
    names = settings.names()

    async def publish(topic: str, body: bytes, content_type: str, metadata: Mapping[str, str]) -> None:
        if topic == names.commands_topic:
            attributes = {
                key: metadata[f"cloudevent.{key}"] for key in ("id", "source") if f"cloudevent.{key}" in metadata
            }
            await dispatch.deliver(body, CloudEventAttributes.read(attributes))
            return
        await announcer.announce(_foreign_event(topic, body, content_type, metadata, dispatch))

    return Endpoint(
        Callbacks(invoke=dispatch.invoke, publish=publish),
        tail,
        names,
        host=settings.host,
        port=settings.port,
        token=settings.api_token,
    )


def _foreign_event(
    topic: str, body: bytes, content_type: str, metadata: Mapping[str, str], dispatch: Dispatch
) -> Event:
    """What an application publishes through the endpoint."""
    is_json = "json" in content_type
    data = orjson.dumps(orjson.loads(body)) if is_json else body
    return Event(
        metadata.get("cloudevent.id", str(uuid4())),
        topic,
        metadata.get("cloudevent.type", "com.dapr.event.sent"),
        metadata.get("cloudevent.subject", ""),
        format_time(dispatch.context.clock.now()),
        data,
        "application/json" if is_json else content_type,
    )
