"""Keeps one owned connection alive: from claim to release, over all the sockets of one epoch."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime

from runtime.backoff import Backoff, Retry
from runtime.failure import DialError, Failure, FailureKind, SocketLost
from runtime.host.courier import Courier
from runtime.host.publisher import DaprPublisher
from runtime.host.queue import FrameQueue
from runtime.host.reporter import Reporter
from runtime.host.session import Session
from runtime.host.tools import Tools
from runtime.models.connection import WebSocketConnection
from runtime.models.events import GapAnnounced, GapKind
from runtime.models.status import ConnectionStatus
from runtime.ports import Vitals
from runtime.reconnect import LifeEnded, keep_alive

_S = ConnectionStatus


@dataclass(slots=True)
class Keeper:
    """One owned connection. `update` tells it what the record says now; `run` returns when it is let go."""

    tools: Tools
    record: WebSocketConnection
    queue: FrameQueue
    courier: Courier = field(init=False)
    reporter: Reporter = field(init=False)
    session: Session | None = None
    _publisher: DaprPublisher = field(init=False)
    _blind_from: datetime | None = field(init=False)
    _blind_reason: str = "the owner before is gone"
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _last_frame_at: datetime | None = None
    _unpublished: int = 0
    _inherits_gap: bool = False
    _lost: bool = False
    _draining: bool = False

    def __post_init__(self) -> None:
        tools, record = self.tools, self.record
        self.reporter = Reporter(tools, record.status)
        self._blind_from = record.read_until
        self._inherits_gap = record.read_until is not None
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
        record.attach(websocket=before.websocket, cancellation=before.cancellation, receive_task=before.receive_task)
        self.record = record
        self.courier.wake()
        if not record.is_wanted or record.generation != before.generation:
            self._changed.set()
            return
        if self.session is not None:
            self.session.topic = record.topic

    def is_outdated_by(self, record: WebSocketConnection) -> bool:
        """Whether a record says something that this keeper does not act on."""
        return _wishes(record) != _wishes(self.record)

    def vitals(self) -> Vitals:
        """How the connection is, for whoever asks."""
        session = self.session
        return Vitals(
            last_frame_at=(session.last_frame_at if session is not None else None) or self._last_frame_at,
            sequence=self._publisher.sequence,
            unpublished=self._unpublished + (session.unpublished if session is not None else 0),
            queued_messages=len(self.queue),
            queued_bytes=self.queue.size_bytes,
        )

    @property
    def frames_received(self) -> int:
        """In this epoch, published or not."""
        vitals = self.vitals()
        return vitals.sequence + vitals.unpublished

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
        self.reporter.begin(self.record)
        async with asyncio.TaskGroup() as group:
            courier = group.create_task(self.courier.run())
            try:
                await self._serve()
            finally:
                courier.cancel()

    async def _serve(self) -> None:
        while True:
            reason = await self._generation()
            if self._lost:
                return
            if self._draining:
                await self.reporter.release(self.record, self._blind_from or self.tools.clock.now())
                return
            if reason is not None or not self.record.is_wanted:
                if self._inherits_gap:  # no socket of this epoch has announced it
                    self._announce_gap()
                await self.reporter.end(self.record, reason, self.courier.fail_all)
                return
            if self.reporter.status is _S.CONNECTED:
                self.reporter.enter(self.record, _S.RECONNECTING, self._blind_from, "a new dial was asked for")

    async def _generation(self) -> str | None:
        """Serve one generation. Returns why it has ended, None when a command or a drain has ended it."""
        self._changed.clear()
        if self._lost or self._draining or not self.record.is_wanted:
            return None
        record = self.record
        if record.url:
            self._publisher.rename(record.url)
        self.queue.resize(record.options)
        self.courier.request_timeout_s = record.options.request_timeout_s
        serve = asyncio.create_task(
            keep_alive(self._live, backoff=Backoff(record.options), random=self.tools.random, pause=self._pause)
        )
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({serve, changed}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()
            serve.cancel()
            await asyncio.wait({serve, changed})
        exhausted = None if serve.cancelled() else serve.result()
        is_current = record.generation == self.record.generation  # else a new dial was asked for just then
        return exhausted.reason if exhausted is not None and is_current else None

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
            self._last_frame_at = session.last_frame_at or self._last_frame_at
            self._unpublished += session.unpublished
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
        reading = asyncio.current_task()
        self.record.attach(websocket=session.socket, cancellation=reading, receive_task=reading)
        session.topic = self.record.topic
        gap_from = self._blind_from
        self._announce_gap()
        self.reporter.enter(self.record, _S.CONNECTED, gap_from)
        self.courier.connected(session.socket)

    def _announce_gap(self) -> None:
        """Nobody was reading until now, or what was read before this epoch may not have been published."""
        if self._blind_from is None:
            return
        now = self.tools.clock.now()
        self.tools.announcer.gap(
            GapAnnounced(
                connection_id=self.record.id,
                epoch=self.record.epoch,
                kind=GapKind.BLIND,
                reason=self._blind_reason,
                from_time=min(self._blind_from, now),  # the wall clock may have gone back
                to_time=now,
            ),
            self._blind_from.timestamp(),
        )
        self._blind_from = None
        self._inherits_gap = False

    def _disconnected(self, session: Session, lost: SocketLost | None, *, connected: bool) -> None:
        self.courier.disconnected()
        if connected:
            is_certain = lost is not None and lost.complete  # else something may have come after the last sign of life
            self._blind_from = self.tools.clock.now() if is_certain else session.alive_at
            self._blind_reason = str(lost) if lost is not None else "closed by command"

    async def _pause(self, retry: Retry, failure: Failure) -> None:
        self.tools.meters.redial_planned(failure.kind)
        self.reporter.enter(self.record, _S.RECONNECTING, self._blind_from, failure.reason, retry)
        await self.tools.clock.sleep(retry.delay_s)


def _wishes(record: WebSocketConnection) -> tuple[object, ...]:
    """What a keeper acts on."""
    return (
        record.instance_id,
        record.epoch,
        record.generation,
        record.desired,
        record.topic,
        record.auto_reconnect,
    )
