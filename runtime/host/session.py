"""One socket's life after the handshake: the opening script, reading, and the timers."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice

from runtime.failure import SocketLost
from runtime.host.courier import Courier
from runtime.host.farewell import Farewell
from runtime.host.filters import Filters
from runtime.host.flag import Flag
from runtime.host.heartbeat import Beat
from runtime.host.held import Held
from runtime.host.interruptible import Interruptible
from runtime.host.keepalive import Keepalive
from runtime.host.opening import Opening
from runtime.host.publisher import DaprPublisher
from runtime.host.queue import FrameQueue
from runtime.models.opening import Step
from runtime.models.options import WebSocketOptions
from runtime.ports import Clock, Socket


@dataclass(slots=True)
class Session:
    """Reads one socket until it is lost. `topic` may change at any time and holds from the next frame.

    `on_due`: told why, once, when the socket is to be exchanged for a new one; without it the socket is then closed in
    order. `held`: takes what comes before `begin_turn`. `opened_at`: since then it is read.
    """

    socket: Socket
    options: WebSocketOptions
    publisher: DaprPublisher
    queue: FrameQueue
    clock: Clock
    topic: str | None
    courier: Courier | None = None
    on_due: Callable[[str], None] | None = None
    held: Held | None = None
    opened_at: datetime = field(init=False)
    alive_at: datetime = field(init=False)
    last_frame_at: datetime | None = None
    unpublished: int = 0
    filtered: int = 0
    seen: float = field(init=False)
    fed: float = field(init=False)
    is_paused: bool = False
    _reader: Interruptible = field(default_factory=Interruptible)
    _fault: BaseException | None = None
    _due: Flag = field(default_factory=Flag)
    _opening: Opening | None = None
    _reading: asyncio.Task[None] | None = None
    _beat: Beat | None = field(init=False)
    _filters: Filters | None = field(init=False)
    _sifted: int = 0  # how many of the messages that were left have been

    def __post_init__(self) -> None:
        self.opened_at = self.alive_at = self.clock.now()
        self.seen = self.fed = self.clock.monotonic()
        heartbeat = self.options.heartbeat
        self._beat = Beat(heartbeat, self.socket, self.clock, lambda: self.is_paused) if heartbeat is not None else None
        self._filters = Filters.of(self.options, self._beat, self._due.set)

    async def open(self) -> None:
        """Pass the opening script, if there is one, while what comes is read and published. Raises SocketLost."""
        steps = [step for step in self.options.opening_messages if isinstance(step, Step)]  # no secrets: it is prepared
        if not steps:
            return
        options = self.options
        opening = Opening(
            steps, self.socket, self.clock, options.connect_timeout_s, options.opening_delay_s, self._waits_for_room
        )
        self._opening = opening
        # In this order: it listens before anything is read, since the peer may have spoken first.
        running, reading = asyncio.create_task(opening.run()), asyncio.create_task(self._read())
        is_passed = False
        try:
            await asyncio.wait({reading, running}, return_when=asyncio.FIRST_COMPLETED)
            if opening.is_cut:  # the reader tells, when it has read what came before
                await asyncio.wait({reading}, timeout=options.close_timeout_s)
            if opening.refusal is not None:  # this tells more than the close frame that may follow
                raise SocketLost(opening.refusal)
            if reading.done():
                reading.result()
            running.result()
            is_passed = True
        finally:
            self._opening = None
            ended = {running} if is_passed else {running, reading}
            for task in ended:
                task.cancel()
            await asyncio.wait(ended)
            for task in ended:
                if not task.cancelled():
                    task.exception()  # or it would be complained of
        self._reading, self.fed = reading, self.clock.monotonic()

    async def run(self) -> None:
        """Read until the socket is lost, which raises SocketLost, or until `leave`.

        In the task that calls it, where the opening script has not begun to read: others are only made for what is
        asked for. Not a TaskGroup: that of Python 3.11 loses a cancellation that meets a failure, and the socket would
        be dialled again instead of let go.
        """
        keepalive = Keepalive(self.socket, self.options, self.clock, self, self.lose)
        helpers = self._helpers()
        keepalive.start()
        try:
            if self._fault is None:
                await self._reader.run(self._reading or self._read())  # what the reader says counts first
        finally:
            keepalive.stop()
            for helper in helpers:
                helper.cancel()
            if helpers:
                await asyncio.wait(helpers)
        if self._fault is not None:
            raise self._fault

    def leave(self) -> None:
        """End `run`: `finish` will read the rest."""
        self._reader.interrupt()

    async def begin_turn(self, topic: str | None, courier: Courier | None) -> None:
        """Publish what was held back, and from now on all that comes."""
        self.topic, self.courier = topic, courier
        self.seen = self.fed = self.clock.monotonic()  # it may have waited for its turn, unread
        if self.held is not None:
            await self.held.pass_on(self._publish, self.queue.wait_for_room)
            self.held = None

    def abandon(self) -> None:
        """Cut a socket whose turn never comes."""
        if self._reading is not None and not self._reading.cancel() and not self._reading.cancelled():
            self._reading.exception()  # or it would be complained of
        if self.held is not None:
            self.held.forget()
        self.socket.close_now()

    def _helpers(self) -> list[asyncio.Task[None]]:
        helpers = []
        if self._beat is not None:
            helpers.append(asyncio.create_task(self._beat.run()))
        if self.options.max_age_s or self.options.rotate_on is not None:
            helpers.append(asyncio.create_task(self._retire()))
        for helper in helpers:
            helper.add_done_callback(self._helper_ended)
        return helpers

    def _helper_ended(self, helper: asyncio.Task[None]) -> None:
        error = None if helper.cancelled() else helper.exception()
        if error is not None:
            self.lose(error)

    def lose(self, fault: BaseException) -> None:
        """End `run` with this."""
        if self._fault is None:
            self._fault = fault
            self._reader.interrupt()

    def pong_came(self) -> None:
        """See `Signs`."""
        self.alive_at = self.clock.now()

    async def finish(self, code: int, reason: str) -> bool:
        """Close, and read what the peer has sent before its close frame. Returns whether all of it came."""
        reading = asyncio.create_task(self._read())
        try:
            await self.socket.close(code, reason, is_read=True)
            await asyncio.wait({reading}, timeout=self.options.close_timeout_s)  # there may be no room for the rest
        finally:
            reading.cancel()
            await asyncio.wait({reading})
        error = None if reading.cancelled() else reading.exception()
        return isinstance(error, SocketLost) and error.complete

    async def _read(self) -> None:
        await self.socket.receive(self._take, self._until_room)

    def _waits_for_room(self) -> bool:
        """Whether reading goes on soon: where messages are held back, there is no room before their turn."""
        return self.is_paused and self.held is None

    async def _until_room(self) -> None:
        if self.held is not None:
            await self.held.has_turn.wait()
        await self.queue.wait_for_room()

    def _take(self, messages: deque[str | bytes]) -> None:
        """Publish as many as there is room for.

        While some are left nothing is read: TCP pushes back on the peer, and the timers rest, since pongs are not read
        either.
        """
        received = self.clock.now()
        self.last_frame_at = self.alive_at = received
        self.seen = self.clock.monotonic()
        if self._opening is not None or self._filters is not None:  # each message has to be looked at
            self._sift(messages, received)
            return
        self.fed = self.seen
        courier = self.courier
        heard = list(messages) if courier is not None and courier.is_listening else []
        self._pass_on(messages, received)
        self.is_paused = bool(messages)
        for message in heard[: len(heard) - len(messages)]:
            assert courier is not None
            courier.hear(message)

    def _pass_on(self, messages: deque[str | bytes], received: datetime) -> None:
        if self.held is not None:
            self.held.keep(messages, received)
        else:
            self._publish(messages, received)

    def _publish(self, messages: deque[str | bytes], received: datetime) -> None:
        """As many as there is room for; the others are left."""
        if self.topic is None:
            self.unpublished += len(messages)
            messages.clear()
        else:
            self.publisher.publish(messages, received, self.topic)

    def _sift(self, messages: deque[str | bytes], received: datetime) -> None:
        """As the rest of `_take`, where each message has to be looked at: once, also if there is no room for it yet."""
        courier, opening, filters = self.courier, self._opening, self._filters
        is_heard = courier is not None and courier.is_listening
        kept = deque(islice(messages, self._sifted))
        for message in islice(messages, self._sifted, None):
            if opening is not None:
                opening.hear(message)
            if is_heard:
                assert courier is not None
                courier.hear(message)
            is_published, is_feed = filters.judge(message) if filters is not None else (True, True)
            if is_feed:
                self.fed = self.seen
            if is_published:
                kept.append(message)
            else:
                self.filtered += 1
        self._pass_on(kept, received)
        messages.clear()
        messages.extend(kept)
        self._sifted = len(kept)
        self.is_paused = bool(kept)

    async def _retire(self) -> None:
        """When the socket is due to be exchanged, have that done."""
        why = "a message has announced its end (rotateOn)"
        try:
            async with asyncio.timeout(self.options.max_age_s or None):
                await self._due.wait()
        except TimeoutError:
            why = f"it is {self.options.max_age_s:g} s old (maxAgeS)"
        if self.on_due is not None:
            self.on_due(why)
        else:
            await self.socket.close(*Farewell.EXCHANGED.value, is_read=True)
