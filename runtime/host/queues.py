"""The frame queues of a host: of its connections, and of those let go of which something is not published yet."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from runtime.host.announcer import Announcer
from runtime.host.budget import Budget
from runtime.host.publisher import Lanes
from runtime.host.queue import FrameQueue
from runtime.models.connection import WebSocketConnection


@dataclass(slots=True)
class Queues:
    """By connection, over all its epochs on this host: what an owner before has left goes out first."""

    lanes: Lanes
    announcer: Announcer
    budget: Budget
    _queues: dict[str, FrameQueue] = field(default_factory=dict)

    def __iter__(self) -> Iterator[FrameQueue]:
        return iter(list(self._queues.values()))

    def of(self, record: WebSocketConnection) -> FrameQueue:
        """Its queue; a new one where there is none, or an empty one."""
        return self._queues.get(record.id) or self._new(record)

    def forget(self, connection_id: str) -> None:
        """It was removed: nothing of it will be published."""
        self._queues.pop(connection_id, None)

    def forget_if_empty(self, connection_id: str) -> None:
        """It was let go of."""
        if not len(self._queues[connection_id]):
            del self._queues[connection_id]

    def forget_empty(self, held: Collection[str]) -> None:
        """Those of connections that are not held have nothing to publish any more."""
        for id_ in [id_ for id_, queue in self._queues.items() if id_ not in held and not len(queue)]:
            del self._queues[id_]

    def oldest(self) -> float | None:
        """When the oldest frame of all was received that is not published yet (Unix time)."""
        return min((queue.oldest_received for queue in self if queue.oldest_received is not None), default=None)

    async def flush(self) -> None:
        """Return when all are empty."""
        for queue in self:
            await queue.wait_until_empty()

    def _new(self, record: WebSocketConnection) -> FrameQueue:
        connection_id, announcer = record.id, self.announcer  # the queue must not hold the record
        queue = self._queues[connection_id] = FrameQueue(
            connection_id,
            record.options,
            self.lanes.on_ready,
            lambda dropped, reason: announcer.dropped(connection_id, dropped, reason),
            self.budget,
        )
        return queue
