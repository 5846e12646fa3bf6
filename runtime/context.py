"""What handlers are given: the records, the nudges and the order of the command at hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from runtime.guard import Guard
from runtime.judging import Decide, Judge, Order
from runtime.models.connection import Aspect, WebSocketConnection
from runtime.models.events import Event
from runtime.models.outcome import Outcome
from runtime.ports import Clock, DeadLetters, Limits, Names, Nudges, Sweeper, Vitals
from runtime.records import Records


class Diagnosis(Protocol):
    """What only a profile knows of itself."""

    async def about(self) -> dict[str, Any]:
        """What runs here, and how it is."""

    async def probe_store(self) -> dict[str, Any]:
        """What the store does: `problems` and `warnings`. Raises StoreError."""


class NoDiagnosis:
    """Knows nothing."""

    async def about(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    async def probe_store(self) -> dict[str, Any]:
        """Nothing."""
        return {"problems": [], "warnings": []}


async def _no_vitals() -> Callable[[WebSocketConnection], Vitals | None]:
    return lambda _record: None


@dataclass(frozen=True, slots=True)
class Context:
    """The ports that handlers see.

    `vitals` looks, and returns what is known of a connection beyond its record. Raises StoreError.

    `take_in` takes an event in as a broker would hand it over: a command to its handler, whose outcome it returns,
    any other to its topic. Raises TransientError, EventRefusedError.
    """

    records: Records
    nudges: Nudges
    clock: Clock
    names: Names
    limits: Limits
    guard: Guard
    dead_letters: DeadLetters
    take_in: Callable[[Event], Awaitable[Outcome | None]]
    sweeper: Sweeper | None = None
    vitals: Callable[[], Awaitable[Callable[[WebSocketConnection], Vitals | None]]] = _no_vitals
    diagnosis: Diagnosis = field(default_factory=NoDiagnosis)

    async def apply(self, order: Order, aspect: Aspect, decide: Decide) -> Outcome:
        """Apply a command to its record and nudge whoever must act on it."""
        judge = Judge(order, aspect, decide)
        record = await self.records.update(order.connection_id, judge)
        assert judge.outcome is not None
        if record is not None:
            await self.nudge_owner(record)
        return judge.outcome

    async def nudge_owner(self, record: WebSocketConnection) -> None:
        """Hint the owner, or all hosts where there is none."""
        owner = record.instance_id
        topic = self.names.owner_topic(owner) if owner else self.names.host_topic
        await self.nudges.nudge(topic, record.id)
