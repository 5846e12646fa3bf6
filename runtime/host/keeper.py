"""Keeps one owned connection alive: from claim to release, over all the sockets of one epoch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

from runtime import ownership
from runtime.backoff import Backoff, Retry
from runtime.errors import GarbageRecordError, OwnershipLostError, StoreError
from runtime.failure import DialError, Failure, FailureKind, SocketLost
from runtime.host.announcer import Announcer
from runtime.host.courier import Courier
from runtime.host.dialing import GuardedDialer
from runtime.host.publisher import DaprPublisher
from runtime.host.queue import FrameQueue
from runtime.host.session import Session
from runtime.host.status import StatusWriter
from runtime.models.connection import WebSocketConnection
from runtime.models.events import GapAnnounced, GapKind
from runtime.models.status import ConnectionStatus, transition
from runtime.ports import Clock, Observer, Random
from runtime.reconnect import LifeEnded, keep_alive
from runtime.records import Records

_S = ConnectionStatus
RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What every keeper of a host shares."""

    records: Records
    dialer: GuardedDialer
    announcer: Announcer
    writer: StatusWriter
    clock: Clock
    random: Random
    observer: Observer


@dataclass(slots=True)
class Keeper:
    """One owned connection. `update` tells it what the record says now; `run` returns when it is let go."""

    tools: Tools
    record: WebSocketConnection
    queue: FrameQueue
    courier: Courier = field(init=False)
    status: ConnectionStatus = field(init=False)
    session: Session | None = None
    _publisher: DaprPublisher = field(init=False)
    _blind_from: datetime | None = field(init=False)
    _blind_reason: str = "the owner before is gone"
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _hurry: asyncio.Event = field(default_factory=asyncio.Event)
    _lost: bool = False
    _draining: bool = False

    def __post_init__(self) -> None:
        tools, record = self.tools, self.record
        self.status = record.status
        self._blind_from = record.read_until
        self._publisher = DaprPublisher(record.id, record.url, record.epoch, self.queue)
        self.courier = Courier(
            record.id,
            record.epoch,
            record.options.request_timeout_s,
            tools.records,
            tools.announcer,
            tools.clock,
            tools.observer,
        )

    def update(self, record: WebSocketConnection | None) -> None:
        """Take in what the record says now."""
        before = self.record
        if record is None or record.instance_id != before.instance_id or record.epoch != before.epoch:
            self.lose()
            return
        self.record = record
        self.courier.wake()
        if not record.is_wanted or record.generation != before.generation:
            self._changed.set()
            return
        if self.session is not None:
            self.session.topic = record.topic

    def hurry(self) -> None:
        """Do not wait for the next attempt any longer."""
        self._hurry.set()

    def lose(self) -> None:
        """Another owns the connection now, or nobody: close, and write nothing."""
        self._lost = True
        self._changed.set()

    def drain(self) -> None:
        """Close with 1001 and leave the record for the next owner."""
        self._draining = True
        self._changed.set()

    async def run(self) -> None:
        """Serve generation after generation until nothing is wanted of this owner."""
        self.tools.announcer.status(self.record, self.status)
        courier = asyncio.create_task(self.courier.run())
        try:
            while True:
                reason = await self._generation()
                if self._lost:
                    return
                if self._draining:
                    await self._finally(self._release)
                    return
                if reason is not None or not self.record.is_wanted:
                    await self._end(reason)
                    return
                if self.status is _S.CONNECTED:
                    self._enter(_S.RECONNECTING, "a new dial was asked for")
        finally:
            courier.cancel()
            with suppress(asyncio.CancelledError):
                await courier

    async def _generation(self) -> str | None:
        """Serve one generation. Returns why it has ended, None when a command or a drain has ended it."""
        self._changed.clear()
        if self._lost or self._draining or not self.record.is_wanted:
            return None
        record = self.record
        if record.url:
            self._publisher.rename(record.url)
        self.queue.resize(record.options)
        serve = asyncio.create_task(
            keep_alive(self._live, backoff=Backoff(record.options), random=self.tools.random, pause=self._pause)
        )
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({serve, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            serve.cancel()
            with suppress(asyncio.CancelledError):
                await serve
        exhausted = None if serve.cancelled() else serve.result()
        return exhausted.reason if exhausted is not None else None

    async def _live(self) -> None:
        """One socket: dial, open, read until it is lost. Raises LifeEnded."""
        record, clock = self.record, self.tools.clock
        started = clock.monotonic()
        connected = False
        try:
            socket = await self.tools.dialer.dial(record.url, record.options)
        except DialError as error:
            raise LifeEnded(self._final(error.failure)) from None
        session = Session(socket, record.options, self._publisher, self.queue, clock, record.topic, self._hear)
        try:
            await session.open()
            connected, started = True, clock.monotonic()
            self._connected(session)
            await session.run()
        except SocketLost as lost:
            self._disconnected(session, lost, connected=connected)
            lived = clock.monotonic() - started if connected else 0
            raise LifeEnded(self._final(lost.failure), lived) from None
        except asyncio.CancelledError:
            self._disconnected(session, None, connected=connected)
            code, reason = (1001, "the manager is stopping") if self._draining else (1000, "")
            await socket.close(code, reason)
            raise
        finally:
            self.session = None
            self.record.attach()
            socket.close_now()

    def _hear(self, payload: str | bytes) -> None:
        if self.courier.is_listening:
            self.courier.hear(payload)

    def _final(self, failure: Failure) -> Failure:
        """Without auto-reconnect the first failure is the last."""
        return failure if self.record.auto_reconnect else Failure(FailureKind.FORBIDDEN, failure.reason)

    def _connected(self, session: Session) -> None:
        self.session = session
        session.topic = self.record.topic
        if self._blind_from is not None:
            self.tools.announcer.gap(
                GapAnnounced(
                    connection_id=self.record.id,
                    epoch=self.record.epoch,
                    kind=GapKind.BLIND,
                    reason=self._blind_reason,
                    from_time=self._blind_from,
                    to_time=self.tools.clock.now(),
                )
            )
            self._blind_from = None
        self._enter(_S.CONNECTED)
        self.courier.connected(session.socket)

    def _disconnected(self, session: Session, lost: SocketLost | None, *, connected: bool) -> None:
        self.courier.disconnected()
        if connected:
            complete = lost is None or lost.complete
            self._blind_from = self.tools.clock.now() if complete else session.alive_at
            self._blind_reason = str(lost) if lost is not None else "closed by command"

    async def _pause(self, retry: Retry, failure: Failure) -> None:
        self._enter(_S.RECONNECTING, failure.reason, retry)
        self._hurry.clear()
        waiting = asyncio.create_task(self.tools.clock.sleep(retry.delay_s))
        hurried = asyncio.create_task(self._hurry.wait())
        try:
            await asyncio.wait({waiting, hurried}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
            hurried.cancel()

    def _enter(self, status: ConnectionStatus, reason: str | None = None, retry: Retry | None = None) -> None:
        """The one place where the status changes: event at once, record soon."""
        self.status = transition(self.status, status)
        self.tools.announcer.status(
            self.record,
            status,
            reason=reason,
            attempt=retry.attempt if retry else None,
            retry_in_s=retry.delay_s if retry else None,
        )
        owner, epoch, until = self.record.instance_id, self.record.epoch, self._blind_from
        assert owner is not None
        now = self.tools.clock.now()
        self.tools.writer.put(
            self.record.id,
            lambda record: ownership.report(
                record,
                instance_id=owner,
                epoch=epoch,
                status=status,
                last_error=reason,
                read_until=until,
                now=now,
            ),
        )

    async def _end(self, reason: str | None) -> None:
        """Disconnected, for good or until a command: record, outbox, event."""
        generation = self.record.generation
        self.status = transition(self.status, _S.DISCONNECTED)
        self.tools.announcer.status(self.record, _S.DISCONNECTED, reason=reason or "by command")

        async def write() -> None:
            await self.tools.records.update(
                self.record.id,
                lambda record: ownership.end(
                    record,
                    instance_id=self.record.instance_id or "",
                    epoch=self.record.epoch,
                    generation=generation,
                    reason=reason,
                    now=self.tools.clock.now(),
                ),
            )
            await self.courier.fail_all(reason or "the connection was disconnected")

        await self._finally(write)

    async def _release(self) -> None:
        await self.tools.records.update(
            self.record.id,
            lambda record: ownership.release(
                record,
                instance_id=self.record.instance_id or "",
                epoch=self.record.epoch,
                reason="the manager was stopped",
                read_until=self._blind_from or self.tools.clock.now(),
                now=self.tools.clock.now(),
            ),
        )

    async def _finally(self, write: Callable[[], Awaitable[None]]) -> None:
        """The last write, until it is done or another owns the record."""
        self.tools.writer.forget(self.record.id)
        while True:
            try:
                await write()
            except StoreError as error:
                self.tools.observer.warn("record_write_failed", id=self.record.id, reason=str(error))
                await self.tools.clock.sleep(RETRY_S)
            except (OwnershipLostError, GarbageRecordError):
                return
            else:
                return
