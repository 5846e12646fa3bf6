"""A session on a socket in memory: the peer and the lane are in the hands of the test."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

import pytest

from runtime.adapters.memory.sockets import MemorySocket
from runtime.failure import Failure, SocketLost
from runtime.host.publisher import DaprPublisher
from runtime.host.queue import FrameQueue
from runtime.host.session import Session
from runtime.models.options import WebSocketOptions
from runtime.ports import Dial
from runtime.urls import Endpoint
from tests.virtual_time import FakeClock


class Stage:
    """A session on a socket in memory, with a queue that holds three messages."""

    def __init__(self, **options) -> None:
        self.options = WebSocketOptions.model_validate({"queue_max_messages": 3, **options})
        self.socket = MemorySocket(Dial("ws://h", Endpoint(False, "h", 80), ("127.0.0.1",), self.options))
        self.queue = FrameQueue("a", self.options, lambda queue: None, lambda *dropped: None)
        publisher = DaprPublisher("a", "ws://h", 1, self.queue, is_json=self.options.json_payload)
        self.session = Session(self.socket, self.options, publisher, self.queue, FakeClock(), "t")
        self.published: list[bytes] = []

    def publish(self) -> None:
        """What the lane does: take all, and make room."""
        self.published += [parcel.event.data for parcel in self.queue.take(100, 10**6, of_one=100)]
        self.queue.release()

    @property
    def payloads(self) -> list[object]:
        """What was published, and in which order; the numbers have no holes."""
        self.publish()
        envelopes = [json.loads(data) for data in self.published]
        assert [envelope["sequence"] for envelope in envelopes] == list(range(1, len(envelopes) + 1))
        return [envelope["payload"] for envelope in envelopes]

    def start(self) -> asyncio.Task[None]:
        return asyncio.create_task(self.session.run())

    async def ends(self) -> tuple[float, str]:
        """How long it lives from now on, and why it ends."""
        began = asyncio.get_running_loop().time()
        with pytest.raises(SocketLost) as lost:
            await self.session.run()
        return asyncio.get_running_loop().time() - began, str(lost.value)


async def failure_of(task: asyncio.Task[None]) -> Failure:
    """What has ended a session."""
    with pytest.raises(SocketLost) as lost:
        await task
    return lost.value.failure


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
