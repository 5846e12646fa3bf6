"""Events about connections: status, gaps, outcomes, notices; queued in memory, published by a lane of their own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from runtime.host.parcel import EVENT_BYTES, Parcel, Told
from runtime.host.publisher import Lanes
from runtime.host.queue import Dropped, FrameQueue
from runtime.models.connection import WebSocketConnection
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import (
    GAP,
    HANDOVER,
    NOTICE,
    STATUS,
    Event,
    GapAnnounced,
    GapKind,
    HandedOver,
    Notice,
    StatusChanged,
    event_of,
    outcome_event,
)
from runtime.models.limits import EVENTS_BYTES
from runtime.models.options import Overflow, WebSocketOptions
from runtime.models.outcome import Outcome
from runtime.models.status import ConnectionStatus
from runtime.ports import NO_METERS, Clock, Limits, Meters, Names, Observer

LOOK_EVERY_S = 0.1


@dataclass(slots=True)
class Announcer:
    """Queues events for `websocket-events`. Bounded: when the broker is away for long, the oldest go, with a notice."""

    lanes: Lanes
    clock: Clock
    names: Names
    limits: Limits
    observer: Observer
    meters: Meters = NO_METERS
    queue: FrameQueue = field(init=False)
    _count: int = 0  # of events put: their sequence, and what tells two of one moment apart

    def __post_init__(self) -> None:
        options = WebSocketOptions(
            queue_max_messages=self.limits.events_max,
            queue_max_bytes=EVENTS_BYTES,
            overflow=Overflow.DROP_OLDEST,
        )
        self.queue = FrameQueue("", options, self.lanes.on_ready, self._lost)

    async def announce(self, event: Event) -> None:
        """Queue an event for its topic."""
        self.put(event)

    def put(self, event: Event, since: float | None = None) -> None:
        """Queue an event for its topic. `since`: the begin of what it stands for, in Unix seconds."""
        self._count += 1
        since = self.clock.now().timestamp() if since is None else since
        self.queue.offer(Told(0, self._count, since, len(event.data) + EVENT_BYTES, event))

    @property
    def oldest_since(self) -> float | None:
        """The earliest begin of all that is not published yet."""
        return min((entry.received for entry in self.queue), default=None)

    async def until_gaps_are_told(self, connection_id: str) -> None:
        """Return when every gap of a connection that was announced is published."""
        while any(event.type == GAP and event.subject == connection_id for event in self._waiting()):
            await self.clock.sleep(LOOK_EVERY_S)

    def status(
        self,
        record: WebSocketConnection,
        status: ConnectionStatus,
        *,
        reason: str | None = None,
        attempt: int | None = None,
        retry_in_s: float | None = None,
    ) -> None:
        """A connection is now in this status."""
        now = self.clock.now()
        changed = StatusChanged(
            connection_id=record.id,
            status=status.label,
            generation=record.generation,
            epoch=record.epoch,
            instance_id=record.instance_id,
            reason=reason,
            attempt=attempt,
            retry_in_s=None if retry_in_s is None else round(retry_in_s, 3),
            at=now,
        )
        event_id = f"{record.id}.{record.epoch}.status.{now.timestamp():.6f}.{self._count}"
        self.put(event_of(self.names.events_topic, STATUS, event_id, record.id, now, changed))

    def gap(self, gap: GapAnnounced, since: float) -> None:
        """There is a hole, from `since` (Unix seconds): a successor announces it again if this event gets lost."""
        self.meters.gap_announced(gap.kind, gap.frames)
        event = event_of(self.names.events_topic, GAP, gap.event_id, gap.connection_id, self.clock.now(), gap)
        self.put(event, since)

    def handed_over(self, record: WebSocketConnection, last_sequence: int, *, is_complete: bool) -> None:
        """An epoch of this host has ended: no frame of it comes after this sequence."""
        self.meters.handed_over(is_complete=is_complete)
        now = self.clock.now()
        handed_over = HandedOver(
            connection_id=record.id,
            epoch=record.epoch,
            instance_id=record.instance_id,
            last_sequence=last_sequence,
            is_complete=is_complete,
            at=now,
        )
        event_id = f"{record.id}.{record.epoch}.handover"
        self.put(event_of(self.names.events_topic, HANDOVER, event_id, record.id, now, handed_over))

    def dropped(self, connection_id: str, dropped: Dropped, reason: str) -> None:
        """Numbered frames were not published."""
        self.gap(
            GapAnnounced(
                connection_id=connection_id,
                epoch=dropped.epoch,
                kind=GapKind.DROPPED,
                reason=reason,
                from_sequence=dropped.first,
                to_sequence=dropped.last,
            ),
            dropped.since,
        )

    def outcome(self, outcome: Outcome) -> None:
        """A command has ended."""
        self.meters.command_ended(outcome.command, outcome.status)
        self.put(outcome_event(self.names.events_topic, outcome))

    def notice(self, reason: str, connection_id: str | None = None) -> None:
        """An operator should know."""
        now = self.clock.now()
        notice = Notice(connection_id=connection_id, reason=reason, at=now)
        event_id = f"notice.{now.timestamp():.6f}.{self._count}"
        self.put(event_of(self.names.events_topic, NOTICE, event_id, connection_id, now, notice))

    def refused(self, queue: FrameQueue, parcel: Parcel, reason: str) -> None:
        """An event was refused for itself: it becomes a dead letter, and a frame leaves a gap."""
        event, entry = parcel.event, parcel.entries[0]
        self.observer.warn("event_refused", id=event.id, topic=event.topic, reason=reason)
        if event.topic == self.names.dead_letters_topic:
            letter = DeadLetter.carried_by(event)
            if letter.data_base64:
                self.put(letter.without_data().carried_to(self.names.dead_letters_topic))
            return
        self.meters.dead_lettered()
        letter = DeadLetter.of(event, reason, self.clock.now())
        self.put(letter.carried_to(self.names.dead_letters_topic))
        if queue is not self.queue:
            lost = Dropped(entry.epoch, entry.sequence, entry.sequence, entry.received)
            self.dropped(queue.connection_id, lost, reason)

    def _waiting(self) -> Iterator[Event]:
        return (entry.event() for entry in self.queue)

    def _lost(self, dropped: Dropped, reason: str) -> None:
        lost = dropped.last - dropped.first + 1
        self.observer.warn("events_lost", count=lost, reason=reason)
        self.notice(f"{lost} events were lost: {reason}")
