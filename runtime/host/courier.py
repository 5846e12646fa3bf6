"""Sends what waits in the outbox of a connection, in order of append, and waits for the answers of requests."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TypeAlias

from runtime import outboxes
from runtime.correlation import Expectation, expect
from runtime.errors import GarbageRecordError, StoreError
from runtime.failure import SocketLost
from runtime.host.flag import Flag
from runtime.host.tools import Tools
from runtime.models.envelope import BINARY, TEXT
from runtime.models.events import ANSWER, Event
from runtime.models.outbox import Outbox, OutboxItem
from runtime.models.outcome import Outcome, OutcomeStatus
from runtime.models.wire import format_time
from runtime.ports import Socket

RETRY_S, REST_S, LOOK_EVERY_S = 1.0, 10.0, 0.1
ANSWER_KEPT_BYTES = 64 * 1024
Spawn: TypeAlias = Callable[[Coroutine[None, None, None]], asyncio.Task[None]]


@dataclass(slots=True)
class Waiting:
    """A request on the wire, until its answer or its deadline (monotonic)."""

    item: OutboxItem
    expectation: Expectation
    deadline: float


@dataclass(slots=True)
class Courier:
    """Works from `begin` to `end`: sends while there is a socket, expires in any case.

    It has a task only while something waits: most connections never send anything.
    """

    tools: Tools
    connection_id: str
    epoch: int
    request_timeout_s: float
    can_act: Callable[[], bool] = lambda: True
    _socket: Socket | None = None
    _waiting: dict[str, Waiting] = field(default_factory=dict)
    _ended: list[Outcome] = field(default_factory=list)
    _spawn: Spawn | None = None
    _task: asyncio.Task[None] | None = None
    _wake: Flag = field(default_factory=Flag)

    def begin(self, spawn: Spawn) -> None:
        """Work from now on. `spawn`: starts a task, and knows what to do if that fails."""
        self._spawn = spawn
        self.wake()

    def end(self) -> None:
        """Work no more."""
        self._spawn = None
        if self._task is not None:
            self._task.cancel()

    def connected(self, socket: Socket) -> None:
        """There is a socket to send on."""
        self._socket = socket
        self.wake()

    async def rest(self) -> None:
        """Send nothing more on this socket. Returns when no answer is to come on it, or none has come for long."""
        self._socket = None
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                while self._waiting:
                    await self.tools.clock.sleep(LOOK_EVERY_S)

    def disconnected(self) -> None:
        """There is none. Requests without an answer will be sent again on the next one."""
        self._socket = None
        self._waiting.clear()

    def wake(self) -> None:
        """Something may have been appended."""
        self._wake.set()
        if self._task is None and self._spawn is not None:
            self._task = self._spawn(self._run())

    @property
    def is_listening(self) -> bool:
        """Whether any request waits for an answer."""
        return bool(self._waiting)

    def hear(self, payload: str | bytes) -> None:
        """Look whether a message answers a request; each message answers at most one, the oldest that fits."""
        for command_id, waiting in self._waiting.items():
            if waiting.expectation.is_met_by(payload):
                del self._waiting[command_id]
                self._ended.append(self._answered(waiting.item, payload))
                self.wake()
                return

    async def _run(self) -> None:
        """Work until nothing waits any more."""
        left: float | None = 0
        while self._wake.is_set() or left is not None:
            self._wake.clear()
            try:
                left = await self._round()
            except (StoreError, GarbageRecordError) as error:
                self.tools.observer.warn("outbox_failed", id=self.connection_id, reason=str(error))
                left = RETRY_S
            if left is not None:
                with suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await self._wake.wait()
        self._task = None

    async def fail_all(self, why: str) -> None:
        """The connection has ended: nothing that waits will be sent. Raises StoreError, GarbageRecordError.

        Unless it lives again: what was sent to that life has come after the outbox was read.
        """
        self.disconnected()
        waiting = {item.command_id for item in (await self.tools.records.outbox(self.connection_id)).items}
        record = await self.tools.records.get(self.connection_id)
        if record is not None and record.is_wanted:
            return
        now = self.tools.clock.now()
        sent = {outcome.command_id: outcome for outcome in self._ended}

        def failed(item: OutboxItem) -> Outcome:
            return sent.get(item.command_id) or outboxes.failed(item, self.connection_id, why, now)

        await self._end(lambda outbox: [failed(item) for item in outbox.items if item.command_id in waiting])

    async def expire(self) -> None:
        """End what has waited for too long: for a connection without owner. Raises as `fail_all`."""
        await self._settle(self._expire(await self.tools.records.outbox(self.connection_id)))

    async def _round(self) -> float | None:
        """One look at the outbox; returns how long nothing will be due, None for ever."""
        outbox = await self.tools.records.outbox(self.connection_id)
        await self._settle(self._expire(outbox))
        socket = self._socket
        ready = [item for item in outbox.items if self._is_ready(item)]
        if socket is not None and ready and self.can_act():
            await self._send(socket, ready)
            self._wake.set()
        return self._next_due(outbox)

    def _is_ready(self, item: OutboxItem) -> bool:
        settled = any(outcome.command_id == item.command_id for outcome in self._ended)
        return not settled and item.command_id not in self._waiting and not item.is_expired(self.tools.clock.now())

    def _expire(self, outbox: Outbox) -> list[Outcome]:
        now, mono = self.tools.clock.now(), self.tools.clock.monotonic()
        ended, self._ended = self._ended, []
        for command_id, waiting in list(self._waiting.items()):
            if mono >= waiting.deadline:
                del self._waiting[command_id]
                reason = "sent, but no answer came in time"
                ended.append(outboxes.end_of(waiting.item, self.connection_id, OutcomeStatus.UNKNOWN, reason, now))
        known = {outcome.command_id for outcome in ended} | self._waiting.keys()
        for item in outbox.items:
            if item.command_id not in known and item.is_expired(now):
                why = "it expired before the connection could take it"
                ended.append(outboxes.failed(item, self.connection_id, why, now))
        return ended

    async def _send(self, socket: Socket, items: list[OutboxItem]) -> None:
        ids = {item.command_id for item in items}
        marked = await self.tools.records.update_outbox(
            self.connection_id, lambda outbox: outboxes.mark(outbox, ids, self.epoch)
        )
        done: list[Outcome] = []
        try:
            for item in marked.items:
                if item.command_id in ids and self.can_act():
                    await self._send_item(socket, item, done)
        except SocketLost:  # what is marked is sent again on the next socket, which may be there already
            if self._socket is socket:
                self._socket = None
        await self._settle(done)

    async def _send_item(self, socket: Socket, item: OutboxItem, done: list[Outcome]) -> None:
        if item.match is not None:  # listen before the question is out: the answer may be quick
            deadline = self.tools.clock.monotonic() + (item.timeout_s or self.request_timeout_s)
            expectation = expect(item.match, item.messages[0].content())
            self._waiting[item.command_id] = Waiting(item, expectation, deadline)
        try:
            async with asyncio.timeout((item.expires_at - self.tools.clock.now()).total_seconds()):
                for message in item.messages:
                    await socket.send(message.content())
        except SocketLost:
            self._waiting.pop(item.command_id, None)
            raise
        except TimeoutError:  # it does not read; what waits behind this message must not wait for ever
            self._waiting.pop(item.command_id, None)
            why = "the peer had not taken it when it expired"
            done.append(outboxes.failed(item, self.connection_id, why, self.tools.clock.now()))
            return
        if item.match is None:
            now = self.tools.clock.now()
            done.append(outboxes.end_of(item, self.connection_id, OutcomeStatus.DONE, "sent", now))

    async def _settle(self, outcomes: list[Outcome]) -> None:
        if not outcomes:
            return
        try:
            await self._end(lambda _outbox: outcomes)
        except (StoreError, GarbageRecordError):
            self._ended.extend(outcomes)
            raise

    async def _end(self, outcomes_of: Callable[[Outbox], list[Outcome]]) -> None:
        """Take items out and announce how they have ended, each once.

        A write whose end is unknown is decided again: what it has ended is known by its very outcome. An item that
        has ended otherwise meanwhile, in a `fail_all` while it was on the wire, has ended.
        """
        ours: dict[str, Outcome] = {}

        def decide(outbox: Outbox) -> Outbox | None:
            for outcome in outcomes_of(outbox):
                if outbox.find(outcome.command_id) or outbox.outcomes.get(outcome.command_id) == outcome:
                    ours.setdefault(outcome.command_id, outcome)
            waiting = [outcome for outcome in ours.values() if outbox.find(outcome.command_id)]
            return outbox.settle(waiting) if waiting else None

        stored = await self.tools.records.update_outbox(self.connection_id, decide)
        for outcome in ours.values():
            if stored.outcomes.get(outcome.command_id) == outcome:
                self.tools.announcer.outcome(outcome)

    def _next_due(self, outbox: Outbox) -> float | None:
        now, mono = self.tools.clock.now(), self.tools.clock.monotonic()
        due = [(item.expires_at - now).total_seconds() for item in outbox.items if item.command_id not in self._waiting]
        due += [waiting.deadline - mono for waiting in self._waiting.values()]
        return max(0.01, min(due)) if due else None

    def _answered(self, item: OutboxItem, payload: str | bytes) -> Outcome:
        now = self.tools.clock.now()
        text, kind = (payload, TEXT) if isinstance(payload, str) else (b64encode(payload).decode(), BINARY)
        outcome = outboxes.end_of(item, self.connection_id, OutcomeStatus.DONE, "answered", now)
        if len(text) <= ANSWER_KEPT_BYTES:
            outcome = outcome.model_copy(update={"answer": text, "answer_content_type": kind})
        else:
            where = (
                "are on the reply topic only"
                if item.reply_topic is not None
                else "are too many to keep: give a replyTopic"
            )
            reason = f"answered; its {len(text)} characters {where}"
            outcome = outcome.model_copy(update={"reason": reason})
        if item.reply_topic is not None:
            full = outcome.model_copy(update={"answer": text, "answer_content_type": kind})
            event_id = f"answer.{item.command_id}"
            self.tools.announcer.put(
                Event(event_id, item.reply_topic, ANSWER, self.connection_id, format_time(now), full.to_json())
            )
        return outcome
