"""The embedded profile: state in a file, topics in this process, commands by a loopback endpoint."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from uuid import uuid4

import orjson

from runtime.adapters.clock import SystemClock
from runtime.adapters.embedded.bus import Bus
from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.adapters.embedded.diagnosis import EmbeddedDiagnosis
from runtime.adapters.embedded.endpoint import Callbacks, Endpoint
from runtime.adapters.embedded.http_sink import HttpSink
from runtime.adapters.embedded.lock import FolderLock
from runtime.adapters.embedded.secrets import LocalSecrets
from runtime.adapters.embedded.sink import Sink
from runtime.adapters.embedded.stdout_sink import StdoutSink
from runtime.adapters.embedded.store import SqliteStore
from runtime.adapters.embedded.tail import Tail
from runtime.adapters.http_caller import PinnedHttp
from runtime.adapters.ops import Ops
from runtime.adapters.resolver import SystemResolver
from runtime.adapters.sockets import WebSocketDialer
from runtime.assembly import Manager, assemble
from runtime.dispatch import Dispatch
from runtime.identity import InstanceIdProvider
from runtime.models.events import NOTICE, SOURCE, CloudEventEncoder, Event
from runtime.models.published import read_published, with_valid_data
from runtime.models.wire import format_time
from runtime.ports import NO_METERS, Observer, Ports
from runtime.resident import Resident
from runtime.settings import Settings
from runtime.urls import mask_url


@dataclass(frozen=True, slots=True)
class Embedded:
    """A running manager. `background` ends when one of its parts has failed."""

    resident: Resident
    dispatch: Dispatch
    endpoint: Endpoint
    background: asyncio.Task[None]


@asynccontextmanager
async def start_embedded(
    settings: Settings, observer: Observer, sink: Sink | None = None, ops: Ops | None = None
) -> AsyncIterator[Embedded]:
    """Run the whole manager; leaving the block drains it. Raises ManagerError when it cannot start."""
    names, clock = settings.names(), SystemClock()
    async with AsyncExitStack() as stack:
        lock = FolderLock(settings.data)  # it is the lease too: whoever holds the folder owns its records
        stack.callback(lock.release)
        store = await SqliteStore.open(settings.data / "state.db")
        stack.push_async_callback(store.close)
        sink = sink or _sink(settings)
        stack.push_async_callback(sink.close)
        tail = Tail(_lost_lines)
        letters = DeadLetterFile(settings.data / "dead-letters.jsonl")
        bus = Bus(sink, tail, CloudEventEncoder(SOURCE, names.pubsub), names, letters)

        meters = ops.meters if ops is not None else NO_METERS
        sources = settings.sources(LocalSecrets(settings.secrets_file), PinnedHttp())
        ports = Ports(
            store,
            bus,
            bus,
            letters,
            SystemResolver(),
            WebSocketDialer(),
            clock,
            random.random,
            observer,
            meters,
            sources,
        )
        me = InstanceIdProvider(settings.instance_id).instance(clock.now())
        manager = assemble(
            ports,
            settings.limits(),
            settings.guard(),
            instance=me,
            diagnosis=EmbeddedDiagnosis(settings.data, settings.sink, lock.why_not_held),
        )
        assert manager.resident is not None
        bus.subscribe_nudges(names.host_topic, manager.resident.host.assign)
        bus.subscribe_nudges(names.owner_topic(me.id), manager.resident.host.nudge)

        endpoint = _endpoint(settings, manager, tail)
        await endpoint.start()
        stack.push_async_callback(endpoint.stop)
        await manager.begin()  # after all that may fail: it overwrites what the process before this one said last
        running = asyncio.create_task(manager.run())
        if ops is not None:
            checks = {"lock": lock.why_not_held, "lease": manager.resident.why_not_ready}
            ops.watch(manager.gauges, store, checks, running)
        where = mask_url(settings.sink)
        observer.log(
            "started",
            port=endpoint.port,
            data=str(settings.data),
            instance=me.id,
            sink=where,
            ops=ops.where if ops is not None else "off",
            memory_bound_mib=settings.limits().memory_bound_mib(),
        )
        try:
            yield Embedded(manager.resident, manager.dispatch, endpoint, running)
        finally:
            await manager.stop(running)


def _sink(settings: Settings) -> Sink:
    if settings.sink == "stdout":
        return StdoutSink()
    extensions = settings.sink_extensions()
    return HttpSink(settings.sink, settings.sink_mode, SOURCE, settings.pubsub, extensions=extensions)


def _lost_lines(lost: int) -> bytes:
    """What a reader of the tail is told that was too slow."""
    event_id, time = str(uuid4()), format_time(SystemClock().now())
    data = orjson.dumps({"reason": "this reader was too slow", "lost": lost})
    return CloudEventEncoder(SOURCE, "").encode(Event(event_id, "", NOTICE, "", time, data))


def _endpoint(settings: Settings, manager: Manager, tail: Tail) -> Endpoint:
    names, clock = manager.context.names, manager.context.clock

    async def publish(topic: str, body: bytes, content_type: str, metadata: Mapping[str, str]) -> None:
        event = read_published(topic, body, content_type, metadata, format_time(clock.now()))
        # What is wrong with a command is for its handler to say: it ends as an outcome and a dead letter.
        await manager.take_in(event if topic == names.commands_topic else with_valid_data(event))

    callbacks = Callbacks(invoke=manager.dispatch.invoke, publish=publish)
    return Endpoint(callbacks, tail, names, host=settings.host, port=settings.port, token=settings.token())
