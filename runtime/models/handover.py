"""A connection on its way from one living host to another."""

from __future__ import annotations

from pydantic import Field

from runtime.models.constants import ID
from runtime.models.wire import UtcTime, WireModel


class Handover(WireModel):
    """What the record says of it, from the offer until the successor has published what it held back.

    `source` gives away what it owned under `epoch`; `to` may take it, or any host where that is null, and owns it
    under the next epoch. Each side waits `withinS` seconds for the other, on its own clock. `lastSequence` is set when
    the source has read and published its last frame; `readUntil` with it when the source stopped to read before the
    successor was connected.
    """

    source: str = Field(pattern=ID)
    epoch: int = Field(ge=0)
    to: str | None = Field(None, pattern=ID)
    within_s: float = Field(gt=0, allow_inf_nan=False)
    last_sequence: int | None = None
    read_until: UtcTime | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the source has let go."""
        return self.last_sequence is not None
