"""The Publisher and Nudges ports in memory."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from runtime.models.events import Event


class MemoryPublisher:
    """Keeps what is published. `before` is awaited before each call, with its events."""

    def __init__(
        self, before: Callable[[Sequence[Event]], Awaitable[None]] | None = None, *, keeps_order: bool = True
    ) -> None:
        self.events: list[Event] = []
        self.before = before
        self.keeps_order = keeps_order
        self.lanes = 1

    async def publish_many(self, events: Sequence[Event]) -> None:
        if self.before is not None:
            await self.before(events)
        self.events.extend(events)


class MemoryNudges:
    """Calls back at once."""

    def __init__(self) -> None:
        self.callbacks: dict[str, Callable[[str], None]] = {}

    async def nudge(self, topic: str, connection_id: str) -> None:
        callback = self.callbacks.get(topic)
        if callback is not None:
            callback(connection_id)
