"""The dapr profile: state and topics by a sidecar, commands by what the sidecar calls."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import grpc

from handlers import SWEEP
from runtime.adapters.clock import SystemClock
from runtime.adapters.dapr.callbacks import AppServer, Subscription, Triggers
from runtime.adapters.dapr.channel import Sidecar
from runtime.adapters.dapr.components import check_components
from runtime.adapters.dapr.dead_letters import KeptDeadLetters
from runtime.adapters.dapr.deliveries import Delivery
from runtime.adapters.dapr.diagnosis import DaprDiagnosis, check_keys_are_shared
from runtime.adapters.dapr.invoker import DaprInvoker
from runtime.adapters.dapr.publisher import DaprBroker
from runtime.adapters.dapr.secrets import DaprSecrets
from runtime.adapters.dapr.store import DaprStore
from runtime.adapters.dapr.thread_channel import ThreadChannel
from runtime.adapters.event_receiver import EventReceiver
from runtime.adapters.http_caller import PinnedHttp
from runtime.adapters.ops import Check, Ops
from runtime.adapters.resolver import SystemResolver
from runtime.adapters.sockets import WebSocketDialer
from runtime.assembly import Manager, assemble
from runtime.dispatch import CloudEventAttributes
from runtime.errors import InvalidInputError, RaceLostError, TransientError
from runtime.host.metered import MeteredPublisher
from runtime.host.place import own_thread
from runtime.identity import InstanceIdProvider
from runtime.models.constants import PROBE_ID, DaprConstants, can_be_key
from runtime.models.events import PROBE, SOURCE, Event
from runtime.ports import NO_METERS, Observer, Ports
from runtime.records import Records
from runtime.resident import Heart, Resident
from runtime.settings import Mode, Settings

Receive = Callable[[Delivery], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class OnSidecar:
    """A manager on a sidecar. `background` ends when one of its parts has failed."""

    manager: Manager
    server: AppServer
    background: asyncio.Task[None]


class Inbound:
    """What the sidecar's calls lead to. Until the manager is there they are to come again later."""

    def __init__(self, settings: Settings, instance_id: str | None) -> None:
        self._names, self._mode, self._instance_id = settings.names(), settings.mode, instance_id
        self.manager: Manager | None = None
        self.letters: KeptDeadLetters | None = None
        self._swept_at: float | None = None

    def triggers(self) -> Triggers:
        """The topics, bindings and methods of this process."""
        names = self._names
        topics: dict[str, Subscription] = {}
        bindings: dict[str, Callable[[bytes, Mapping[str, str]], Awaitable[None]]] = {}
        if self._mode is not Mode.HOST:
            topics[names.commands_topic] = Subscription(self._command, names.dead_letters_topic)
            topics[names.dead_letters_topic] = Subscription(self._letter)
            bindings[names.commands_binding] = self._bound_command
        if self._instance_id is not None:
            topics[names.host_topic] = Subscription(self._assign)
            topics[names.owner_topic(self._instance_id)] = Subscription(self._nudge)
            bindings[names.sweep_binding] = self._sweep
        return Triggers(topics, bindings, self._invoke, lambda: self.manager is not None)

    def notes_from(self, sidecar: Sidecar) -> Callable[[], Awaitable[Mapping[str, object]]]:
        """What a host says of itself beside its lease, for `wsm doctor`."""

        async def notes() -> Mapping[str, object]:
            assert self._instance_id is not None
            try:
                topics = {subscription.topic for subscription in (await sidecar.look()).subscriptions}
            except grpc.aio.AioRpcError:
                return {}
            is_subscribed = self._names.owner_topic(self._instance_id) in topics
            self._resident().sweeper.hear(is_subscribed=is_subscribed)
            now, swept_at = self._ready().ports.clock.monotonic(), self._swept_at
            cron_age_s = None if swept_at is None else round(now - swept_at, 1)
            return {"isSubscribed": is_subscribed, "cronAgeS": cron_age_s}

        return notes

    def _ready(self) -> Manager:
        if self.manager is None:
            raise TransientError("the manager is starting; try again")
        return self.manager

    async def _command(self, delivery: Delivery) -> None:
        event, problem = delivery.event, delivery.problem
        if event.type == PROBE and re.fullmatch(PROBE_ID, event.id):
            await self._arrived(event.id)
            return
        given = {"id": event.id or None, "source": event.source or None}
        try:
            attributes = CloudEventAttributes.read(given | {"time": event.time or None})
        except InvalidInputError as error:  # it would be as wrong the next time
            attributes, problem = CloudEventAttributes.read(given), problem or str(error)
        await self._ready().dispatch.deliver(event.data, attributes, problem=problem)

    async def _arrived(self, probe_id: str) -> None:
        """Tell whoever measures that its event has come: it may be another replica that was asked."""
        with suppress(RaceLostError):
            await self._ready().ports.store.put(DaprConstants.PROBE_PREFIX + probe_id, b"1", None)

    async def _bound_command(self, data: bytes, _metadata: Mapping[str, str]) -> None:
        await self._ready().dispatch.deliver(data)

    async def _letter(self, delivery: Delivery) -> None:
        self._ready()
        assert self.letters is not None
        await self.letters.receive(delivery)

    async def _nudge(self, delivery: Delivery) -> None:
        self._hint(delivery, self._resident().host.nudge)

    async def _assign(self, delivery: Delivery) -> None:
        self._hint(delivery, self._resident().host.assign)

    def _hint(self, delivery: Delivery, take: Callable[[str], None]) -> None:
        connection_id = delivery.event.data.decode(errors="replace")
        if can_be_key(connection_id):
            take(connection_id)

    def _resident(self) -> Resident:
        resident = self._ready().resident
        assert resident is not None
        return resident

    async def _sweep(self, _data: bytes, _metadata: Mapping[str, str]) -> None:
        self._swept_at = self._ready().ports.clock.monotonic()
        await SWEEP(self._ready().context)

    async def _invoke(self, method: str, body: bytes) -> bytes:
        return await self._ready().dispatch.invoke(method, body)


@asynccontextmanager
async def start_dapr(settings: Settings, observer: Observer, ops: Ops | None = None) -> AsyncIterator[OnSidecar]:
    """Run the chosen part of the manager; leaving the block drains it. Raises ManagerError when it cannot start."""
    limits, names, clock = settings.limits(), settings.names(), SystemClock()
    me = InstanceIdProvider(settings.instance_id).instance(clock.now()) if settings.mode is not Mode.HANDLERS else None
    async with AsyncExitStack() as stack:
        sidecar = Sidecar(settings.sidecar_address(), settings.token())
        stack.push_async_callback(sidecar.close)
        inbound = Inbound(settings, me.id if me is not None else None)
        server = AppServer(
            inbound.triggers(), observer, pubsub=names.pubsub, port=settings.app_port, token=settings.app_token()
        )
        await server.start()  # before the sidecar is waited for, which itself waits until its app listens
        stack.push_async_callback(server.stop)
        kinds = check_components(await sidecar.until_up(settings.sidecar_timeout_s, observer), names)

        store = DaprStore(sidecar, names.statestore)
        heart = await stack.enter_async_context(_heart(settings)) if me is not None else None
        broker = DaprBroker(sidecar, names.pubsub, kinds.pubsub, SOURCE, observer, lanes=settings.lanes)
        letters = KeptDeadLetters(store, Records(store, clock, random.random), clock, observer)
        meters = ops.meters if ops is not None else NO_METERS
        sources = settings.sources(DaprSecrets(sidecar), PinnedHttp(), DaprInvoker(sidecar))
        ports = Ports(
            store,
            broker,
            broker,
            letters,
            SystemResolver(),
            WebSocketDialer(),
            clock,
            random.random,
            observer,
            meters,
            sources,
        )
        outcomes = MeteredPublisher(broker, meters, clock, "event")

        async def announce(event: Event) -> None:
            await outcomes.publish_many([event])

        manager = assemble(
            ports,
            limits,
            settings.guard(),
            instance=me,
            shares_records=True,
            announce=announce,
            diagnosis=DaprDiagnosis(sidecar, names, settings.mode.value, me.id if me is not None else None),
            notes=inbound.notes_from(sidecar),
            heart=heart,
        )
        is_alone = settings.mode is Mode.HANDLERS
        check = check_keys_are_shared(sidecar, store, names, observer) if is_alone else None
        running = asyncio.create_task(_run(manager, sidecar, observer, check))
        inbound.letters, inbound.manager = letters, manager
        receiver = _receiver(settings, manager)
        if receiver is not None:
            await receiver.start()
            stack.push_async_callback(receiver.stop)
        if ops is not None:
            checks: dict[str, Check] = {"sidecar": sidecar.why_not_reachable}
            if manager.resident is not None:
                checks["lease"] = manager.resident.why_not_ready
            ops.watch(manager.gauges, store, checks, running)
        instance = me.id if me is not None else None
        observer.log(
            "started",
            mode=settings.mode,
            app_port=server.port,
            sidecar=sidecar.address,
            instance=instance,
            ops=ops.where if ops is not None else "off",
            events_port=receiver.port if receiver is not None else None,
            memory_bound_mib=limits.memory_bound_mib() if me is not None else None,
        )
        try:
            yield OnSidecar(manager, server, running)
        finally:
            await manager.stop(running)


@asynccontextmanager
async def _heart(settings: Settings) -> AsyncIterator[Heart]:
    """A thread for the lease, with a way to the sidecar that shares nothing with that of the main loop."""
    async with own_thread("heartbeat") as place:
        channel = ThreadChannel(settings.sidecar_address(), settings.token())
        try:
            yield Heart(place, DaprStore(channel, settings.statestore))
        finally:
            channel.close()


def _receiver(settings: Settings, manager: Manager) -> EventReceiver | None:
    if settings.events_port is None or settings.mode is Mode.HOST:
        return None
    topic, clock = settings.commands_topic, manager.ports.clock
    return EventReceiver(manager.take_in, topic, clock, host=settings.events_host, port=settings.events_port)


async def _run(
    manager: Manager, sidecar: Sidecar, observer: Observer, check: Coroutine[None, None, None] | None
) -> None:
    """Run until a part fails, or the check finds that this cannot work."""
    # A sidecar that is back brings its nudges before our channel to it works again.
    on_back = manager.resident.catch_up if manager.resident is not None else None
    watching = asyncio.create_task(sidecar.watch(observer, on_back))
    parts = [asyncio.create_task(manager.run())] + ([asyncio.create_task(check)] if check is not None else [])
    try:
        await asyncio.wait(parts, return_when=asyncio.FIRST_EXCEPTION)
        for part in parts:
            if part.done():
                part.result()
    finally:
        watching.cancel()
        for part in parts:
            part.cancel()
        await asyncio.wait(parts)
