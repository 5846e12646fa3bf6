"""A Publisher that tells the meters of each call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from runtime.errors import EventRefusedError, PublishError
from runtime.models.events import Event
from runtime.ports import Clock, Meters, Publisher


@dataclass(slots=True)
class MeteredPublisher:
    """Calls another one. `kind`: what it is given, `frame` or `event`."""

    publisher: Publisher
    meters: Meters
    clock: Clock
    kind: str
    keeps_order: bool = field(init=False)
    lanes: int = field(init=False)

    def __post_init__(self) -> None:
        self.keeps_order, self.lanes = self.publisher.keeps_order, self.publisher.lanes

    async def publish_many(self, events: Sequence[Event]) -> None:
        began = self.clock.monotonic()
        try:
            await self.publisher.publish_many(events)
        except EventRefusedError as error:
            self.meters.publish_failed(self.kind, _frames(events[: error.index]))
            raise
        except PublishError as error:
            self.meters.publish_failed(self.kind, _frames(events[: error.published]))
            raise
        self.meters.publish_ended(self.kind, _frames(events), self.clock.monotonic() - began)


def _frames(events: Sequence[Event]) -> int:
    return sum(event.frames for event in events)
