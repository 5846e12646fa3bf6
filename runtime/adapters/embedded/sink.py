"""Where the events of the embedded profile go."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from runtime.models.events import Event


class Sink(Protocol):
    """Takes events in order. `lanes`: how many calls at a time are of use."""

    lanes: int

    async def write(self, events: Sequence[Event], documents: Sequence[bytes]) -> None:
        """Hand over events, and wait until they have arrived. Raises PublishError, EventRefusedError."""

    async def close(self) -> None:
        """Let go of threads and connections."""
