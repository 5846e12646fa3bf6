"""What waits to be sent on one connection, in the order in which it was appended."""

from __future__ import annotations

from datetime import datetime
from typing import Self

from runtime.models.commands import Match
from runtime.models.message import Message
from runtime.models.options import KIB
from runtime.models.outcome import Outcome
from runtime.models.wire import UtcTime, WireModel

OUTBOX_MAX_MESSAGES = 100
OUTBOX_MAX_BYTES = 256 * KIB
OUTBOX_OUTCOMES = 128


class OutboxItem(WireModel):
    """One send or request. `attemptedEpoch` is set before the first attempt under that epoch."""

    command_id: str
    command: str
    messages: tuple[Message, ...]
    expires_at: UtcTime
    attempted_epoch: int | None = None
    match: Match | None = None
    reply_topic: str | None = None
    timeout_s: float | None = None

    @property
    def size_bytes(self) -> int:
        """What counts against the limit."""
        return sum(len(message.data.encode()) for message in self.messages)

    def is_expired(self, now: datetime) -> bool:
        """Whether it may no longer be sent."""
        return now >= self.expires_at


class Outbox(WireModel):
    """The key `websocket.outbox.<id>`: waiting items, and the ends of the last ones by command id."""

    items: tuple[OutboxItem, ...] = ()
    outcomes: dict[str, Outcome] = {}

    @property
    def waiting_messages(self) -> int:
        """Messages of all items."""
        return sum(len(item.messages) for item in self.items)

    @property
    def waiting_bytes(self) -> int:
        """Bytes of all items."""
        return sum(item.size_bytes for item in self.items)

    def find(self, command_id: str) -> OutboxItem | None:
        """The waiting item of a command."""
        return next((item for item in self.items if item.command_id == command_id), None)

    def settle(self, outcomes: list[Outcome]) -> Self:
        """A copy without the items of these commands, which remembers how they ended."""
        ended = {outcome.command_id: outcome for outcome in outcomes}
        left = tuple(item for item in self.items if item.command_id not in ended)
        kept = {key: value for key, value in self.outcomes.items() if key not in ended} | ended
        return self.model_copy(update={"items": left, "outcomes": dict(list(kept.items())[-OUTBOX_OUTCOMES:])})
