"""One socket's life after the handshake: opening messages, reading, keepalive and the idle timer."""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, field
from datetime import datetime

from runtime.failure import Failure, FailureKind, SocketLost
from runtime.host.courier import Courier
from runtime.host.publisher import DaprPublisher
from runtime.host.queue import FrameQueue
from runtime.models.options import WebSocketOptions
from runtime.ports import Clock, Socket


@dataclass(slots=True)
class Session:
    """Reads one socket until it is lost. `topic` may change at any time and holds from the next frame."""

    socket: Socket
    options: WebSocketOptions
    publisher: DaprPublisher
    queue: FrameQueue
    clock: Clock
    topic: str | None
    courier: Courier | None = None
    alive_at: datetime = field(init=False)
    last_frame_at: datetime | None = None
    unpublished: int = 0
    _seen: float = field(init=False)
    _paused: bool = False

    def __post_init__(self) -> None:
        self.alive_at = self.clock.now()
        self._seen = self.clock.monotonic()

    async def open(self) -> None:
        """Send the opening messages, in order. Raises SocketLost."""
        patience = self.options.connect_timeout_s
        try:
            async with asyncio.timeout(patience):
                for message in self.options.opening_messages:
                    await self.socket.send(message.content())
        except TimeoutError:
            reason = f"the peer did not take the opening messages within {patience:g} s (connectTimeoutS)"
            raise SocketLost(Failure(FailureKind.TRANSIENT, reason)) from None

    async def run(self) -> None:
        """Read until the socket is lost: always raises SocketLost, unless cancelled.

        Not a TaskGroup: that of Python 3.11 loses a cancellation that meets a failure, and the socket would be dialled
        again instead of let go.
        """
        tasks = [asyncio.create_task(self._read())]
        if self.options.ping_interval_s:
            tasks.append(asyncio.create_task(self._keep_alive()))
        if self.options.idle_timeout_s:
            tasks.append(asyncio.create_task(self._watch_idle()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks:  # what the reader says counts first
            if not task.cancelled():
                task.result()

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
        await self.socket.receive(self._take, self.queue.wait_for_room)

    def _take(self, messages: deque[str | bytes]) -> None:
        """Publish as many as there is room for.

        While some are left nothing is read: TCP pushes back on the peer, and the timers rest, since pongs are not read
        either.
        """
        received = self.clock.now()
        self.last_frame_at = self.alive_at = received
        self._seen = self.clock.monotonic()
        courier = self.courier
        heard = list(messages) if courier is not None and courier.is_listening else []
        if self.topic is None:
            self.unpublished += len(messages)
            messages.clear()
        else:
            self.publisher.publish(messages, received, self.topic)
        self._paused = bool(messages)
        for message in heard[: len(heard) - len(messages)]:
            assert courier is not None
            courier.hear(message)

    async def _keep_alive(self) -> None:
        interval, patience = self.options.ping_interval_s, self.options.ping_timeout_s
        while True:
            await self.clock.sleep(interval)
            if self._paused:
                continue
            sent_at = self.clock.monotonic()
            try:
                async with asyncio.timeout(patience):
                    await self.socket.ping()
            except SocketLost:
                return  # the reader tells, when it has read what came before
            except TimeoutError:
                if self._paused or self._seen >= sent_at:
                    continue  # a frame is as good a sign of life as a pong
                reason = f"no pong and no message within {patience:g} s of a ping"
                raise SocketLost(Failure(FailureKind.TRANSIENT, reason)) from None
            if not self._paused:  # else messages that came before the pong are not read yet
                self.alive_at = self.clock.now()

    async def _watch_idle(self) -> None:
        limit = self.options.idle_timeout_s
        while True:
            left = self._seen + limit - self.clock.monotonic()
            if self._paused:
                left = limit
            elif left <= 0:
                raise SocketLost(Failure(FailureKind.TRANSIENT, f"no message within {limit:g} s (idleTimeoutS)"))
            await self.clock.sleep(left)
