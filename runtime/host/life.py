"""The sockets of an owned connection, one after the other, and the account of what passes between two of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from runtime.backoff import Retry
from runtime.failure import DialError, Failure, FailureKind, SocketLost
from runtime.host.blind import Blind
from runtime.host.courier import Courier
from runtime.host.exchange import Exchange, Successor
from runtime.host.farewell import Farewell
from runtime.host.held import Held
from runtime.host.line import Line, dial
from runtime.host.publisher import DaprPublisher
from runtime.host.queue import FrameQueue
from runtime.host.remote import Wait
from runtime.host.reporter import Reporter
from runtime.host.session import Session
from runtime.host.tools import Tools
from runtime.models.connection import HeldConnection, WebSocketConnection
from runtime.models.status import ConnectionStatus
from runtime.ports import Vitals
from runtime.reconnect import LifeEnded


@dataclass(slots=True)
class Life:
    """Dials, opens and reads. `record` is what the keeper knows last; `farewell` says how a cancelled run closes.

    `reading`: the session of the socket that is open; `session`: the same, once its opening script has passed.

    `is_arriving`: the host before still publishes, so that nobody knows yet up to when all is published.
    `may_exchange`: whether this is the time to exchange the socket for a new one.
    """

    tools: Tools
    record: HeldConnection
    queue: FrameQueue
    courier: Courier
    reporter: Reporter
    blind: Blind
    is_arriving: bool
    may_exchange: Callable[[], bool] = lambda: True
    farewell: Farewell = Farewell.ASKED
    reading: Session | None = None
    session: Session | None = None
    connected_at: datetime | None = None
    waiting: Wait | None = None
    publisher: DaprPublisher = field(init=False)
    _last_frame_at: datetime | None = None
    _unpublished: int = 0
    _filtered: int = 0
    _received_before: int = 0  # under epochs that this keeper had earlier
    _filtered_before: int = 0
    _exchange: Exchange | None = None

    def __post_init__(self) -> None:
        record = self.record
        is_json = record.options.json_payload
        self.publisher = DaprPublisher(record.id, record.url, record.epoch, self.queue, is_json=is_json)

    def take(self, record: WebSocketConnection) -> None:
        """The record as it is now; what never leaves the process stays."""
        before, held = self.record, HeldConnection.of(record)
        held.attach(websocket=before.websocket, cancellation=before.cancellation, receive_task=before.receive_task)
        self.record = held

    def publish_to(self, topic: str | None) -> None:
        """The topic from the next frame on."""
        if self.reading is not None:
            self.reading.topic = topic

    def begin_generation(self) -> None:
        """What a generation may have changed."""
        record = self.record
        if record.url:
            self.publisher.rename(record.url, is_json=record.options.json_payload)
        self.queue.resize(record.options)
        self.courier.request_timeout_s = record.options.request_timeout_s

    def vitals(self) -> Vitals:
        """How the connection is, for whoever asks."""
        session = self.reading
        return Vitals(
            last_frame_at=(session.last_frame_at if session is not None else None) or self._last_frame_at,
            sequence=self.publisher.sequence,
            unpublished=self._unpublished + (session.unpublished if session is not None else 0),
            filtered=self._filtered + (session.filtered if session is not None else 0),
            queued_messages=len(self.queue),
            queued_bytes=self.queue.size_bytes,
            waits_until=self.waiting.until if self.waiting is not None else None,
            waits_for=self.waiting.why if self.waiting is not None else None,
        )

    @property
    def frames_received(self) -> int:
        """By this keeper, published or not."""
        vitals = self.vitals()
        return self._received_before + vitals.sequence + vitals.unpublished + vitals.filtered

    @property
    def frames_filtered(self) -> int:
        """By this keeper, left out as the options say."""
        return self._filtered_before + self.vitals().filtered

    @property
    def is_exchanging(self) -> bool:
        """Whether the socket is about to be exchanged for one that is open already."""
        return self._exchange is not None and self._exchange.ready is not None

    async def run(self) -> None:
        """Dial, open, read until the socket is lost, or the last of those it was exchanged for. Raises LifeEnded."""
        clock = self.tools.clock
        started = clock.monotonic()
        connected = False
        try:
            line = await dial(self.tools, self.record, self._wait)
        except DialError as error:
            raise LifeEnded(self._final(error.failure)) from None
        session = self._session_of(line)
        session.topic, session.courier = self.record.topic, self.courier  # the topic may have changed meanwhile
        self.reading = session
        self._exchange = self._exchange_of(session)
        try:
            await session.open()
            connected, started = True, clock.monotonic()
            self._connected(session)
            while (successor := await self._read(session, line)) is not None:
                session, line, started = successor.session, successor.line, clock.monotonic()
                await self._begin_turn(successor)
        except SocketLost as lost:
            lost = line.heed(lost)  # under its name: another would hold it, and its traceback this frame
            self._disconnected(session, lost, connected=connected)
            lived = clock.monotonic() - started if connected else 0
            raise LifeEnded(self._final(lost.failure), lived) from None
        except asyncio.CancelledError:
            await self._close(session, connected=connected)
            raise
        finally:
            self._let_go(session)
            self.session = self.reading = None
            if self._exchange is not None:
                self._exchange.end()
                self._exchange = None

    async def until_published(self) -> None:
        """Return when all that was read is published, and all gaps: the next owner may not publish before that."""
        await self.queue.wait_until_empty()
        await self.tools.announcer.until_gaps_are_told(self.record.id)

    async def pause(self, retry: Retry, failure: Failure) -> None:
        """Wait before the next socket."""
        self.tools.meters.redial_planned(failure.kind)
        self.reporter.enter(self.record, ConnectionStatus.RECONNECTING, self.blind.since, failure.reason, retry)
        self.waiting = Wait(self.tools.clock.now() + timedelta(seconds=retry.delay_s), failure.reason)
        try:
            await self.tools.clock.sleep(retry.delay_s)
        finally:
            self.waiting = None

    def settle_in(self, since: datetime | None) -> None:
        """The host before has published all. `since`: when it had stopped to read, if none of ours was open then."""
        self.is_arriving = False
        if since is not None:
            self.blind.inherit(since)
            if self.session is not None:
                self.blind.announce(self.record, self.connected_at)
        self.queue.let_go()

    def go_on(self, record: WebSocketConnection) -> None:
        """Own it under another epoch, on the same socket."""
        self._received_before, self._filtered_before = self.frames_received, self.frames_filtered
        self._unpublished = self._filtered = 0
        if self.reading is not None:
            self.reading.unpublished = self.reading.filtered = 0
        self.take(record)
        self.publisher.begin(record.epoch, record.url)
        self.courier.epoch = record.epoch
        self.reporter.go_on(record, self.blind.since)
        if self.session is not None:
            self.courier.connected(self.session.socket)

    def _session_of(self, line: Line) -> Session:
        return Session(line.socket, line.prepared.options, self.publisher, self.queue, self.tools.clock, None)

    def _exchange_of(self, session: Session) -> Exchange | None:
        """What exchanges it when it is due; None where it never is, or may not overlap with another."""
        options, record = session.options, self.record
        if not (options.max_age_s or options.rotate_on is not None) or not (options.overlap and record.auto_reconnect):
            return None
        exchange = Exchange(self.tools, record.id, options, self._open_next, self.may_exchange, self.courier.rest)
        exchange.watch(session)
        return exchange

    async def _open_next(self) -> tuple[Line, Session]:
        """A socket that is open while another one is read. Raises DialError, SocketLost."""
        line = await dial(self.tools, self.record, lambda wait: None)
        session = self._session_of(line)
        session.held = Held(self.queue)
        is_open = False
        try:
            await session.open()
            is_open = True
        except SocketLost as lost:
            lost = line.heed(lost)
            raise lost from None
        finally:
            if not is_open:
                session.abandon()
        return line, session

    async def _read(self, session: Session, line: Line) -> Successor | None:
        """Until there is a successor, and then to its end. Raises SocketLost."""
        try:
            await session.run()
        except SocketLost as lost:
            if not self.is_exchanging:
                raise
            lost = line.heed(lost)
            self.courier.disconnected()
            if not lost.complete:
                self.blind.begin(session.alive_at, str(lost))
        else:
            await self._read_to_end(session, Farewell.EXCHANGED)
        self._let_go(session)
        return self._exchange.ready if self._exchange is not None else None

    async def _begin_turn(self, successor: Successor) -> None:
        session = successor.session
        assert self._exchange is not None
        self._exchange.watch(session)
        self.reading = session
        self._attach(session)
        self.blind.announce(self.record)
        self.reporter.exchanged(self.record, successor.why)
        self.tools.meters.socket_exchanged()
        self.courier.connected(session.socket)
        await session.begin_turn(self.record.topic, self.courier)

    def _wait(self, wait: Wait | None) -> None:
        """The dial has to wait for its turn, which is told once; None: it does not any more."""
        before, self.waiting = self.waiting, wait
        if wait is not None and (before is None or before.why != wait.why):
            self.reporter.wait(self.record, wait)

    def _final(self, failure: Failure) -> Failure:
        """Without auto-reconnect the first failure is the last."""
        return failure if self.record.auto_reconnect else Failure(FailureKind.FORBIDDEN, failure.reason)

    def _connected(self, session: Session) -> None:
        self._attach(session)
        read_until = self.record.read_until if self.is_arriving else self.blind.since
        self.blind.announce(self.record, session.opened_at)
        self.reporter.enter(self.record, ConnectionStatus.CONNECTED, read_until)
        self.courier.connected(session.socket)

    def _attach(self, session: Session) -> None:
        self.session, self.connected_at = session, session.opened_at
        reading = asyncio.current_task()
        self.record.attach(websocket=session.socket, cancellation=reading, receive_task=reading)

    def _let_go(self, session: Session) -> None:
        """It is read no more, and counts no more."""
        self._last_frame_at = session.last_frame_at or self._last_frame_at
        self._unpublished += session.unpublished
        self._filtered += session.filtered
        session.unpublished = session.filtered = 0
        self.record.attach()
        session.socket.close_now()

    def _disconnected(self, session: Session, lost: SocketLost | None, *, connected: bool) -> None:
        self.courier.disconnected()
        if connected:
            is_certain = lost is not None and lost.complete  # else something may have come after the last sign of life
            since = self.tools.clock.now() if is_certain else session.alive_at
            self.blind.begin(since, str(lost) if lost is not None else "closed by command")

    async def _read_to_end(self, session: Session, farewell: Farewell) -> None:
        """Close in order, and miss nothing that the peer had sent before."""
        self.courier.disconnected()
        if not await session.finish(*farewell.value):
            self.blind.begin(session.alive_at, "closed before all was read")

    async def _close(self, session: Session, *, connected: bool) -> None:
        code, reason = self.farewell.value
        if self.farewell is Farewell.MOVED and connected:
            await self._read_to_end(session, self.farewell)
            return
        self._disconnected(session, None, connected=connected)
        if code is not None:
            await session.socket.close(code, reason)
            if self._exchange is not None and self._exchange.ready is not None:
                await self._exchange.ready.session.socket.close(code, reason)
