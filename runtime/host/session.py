"""One socket's life after the handshake: opening messages, reading, keepalive and the idle timer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

from runtime.failure import Failure, FailureKind, SocketLost
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
    on_message: Callable[[str | bytes], None] | None = None
    alive_at: datetime = field(init=False)
    last_frame_at: datetime | None = None
    unpublished: int = 0
    _seen: float = field(init=False)
    _paused: bool = False

    def __post_init__(self) -> None:
        self.alive_at = self.clock.now()
        self._seen = self.clock.monotonic()

    @property
    def is_paused(self) -> bool:
        """Whether nothing is (or was, at the end) read because the queue is full."""
        return self._paused

    async def open(self) -> None:
        """Send the opening messages, in order. Raises SocketLost."""
        for message in self.options.opening_messages:
            await self.socket.send(message.content())

    async def run(self) -> None:
        """Read until the socket is lost: always raises SocketLost, unless cancelled."""
        work: list[Callable[[], Awaitable[None]]] = [self._read]
        if self.options.ping_interval_s:
            work.append(self._keep_alive)
        if self.options.idle_timeout_s:
            work.append(self._watch_idle)
        try:
            async with asyncio.TaskGroup() as group:
                for step in work:
                    group.create_task(_run(step))
        except BaseExceptionGroup as errors:
            lost, other = errors.split(SocketLost)
            if lost is None or other is not None:
                raise
            raise _first(lost) from None

    async def _read(self) -> None:
        receive, publish, clock = self.socket.receive, self.publisher.publish, self.clock
        while True:
            payload = await receive()
            received = clock.now()
            self.last_frame_at = self.alive_at = received
            self._seen = clock.monotonic()
            if self.on_message is not None:
                self.on_message(payload)
            topic = self.topic
            if topic is None:
                self.unpublished += 1
            elif not publish(payload, received, topic):
                await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        """Not reading: TCP pushes back on the peer, and the timers rest, since pongs are not read either."""
        self._paused = True
        await self.queue.wait_for_room()
        self._paused = False
        self._seen = self.clock.monotonic()

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
            except TimeoutError:
                if self._paused or self._seen >= sent_at:
                    continue  # a frame is as good a sign of life as a pong
                reason = f"no pong and no message within {patience:g} s of a ping"
                raise SocketLost(Failure(FailureKind.TRANSIENT, reason)) from None
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


async def _run(step: Callable[[], Awaitable[None]]) -> None:
    await step()


def _first(group: BaseExceptionGroup[SocketLost]) -> SocketLost:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, SocketLost)
    return error
