"""What the manager asks of the world; adapters answer. Errors are those of `runtime.errors`, nothing else."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from runtime.models.dead_letter import DeadLetter
from runtime.models.events import Event
from runtime.models.limits import DEFAULT_NAMES as DEFAULT_NAMES
from runtime.models.limits import Limits as Limits
from runtime.models.limits import Names as Names
from runtime.models.options import WebSocketOptions
from runtime.sources import PLAIN, Handshake, Sources
from runtime.urls import Endpoint


@dataclass(frozen=True, slots=True)
class Stored:
    """A value and the etag that its next write must carry."""

    value: bytes
    etag: str


class StateStore(Protocol):
    """A key-value store with compare-and-set. Any error leaves a write unknown: read again, and decide again.

    RaceLostError too: a client between here and the store that tries again by itself may lose to its own first try.
    """

    async def get(self, key: str) -> Stored | None:
        """Read with strong consistency; None when absent. Raises StoreError."""

    async def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        """Read several; what is absent is left out. Raises StoreError if any could not be read."""

    async def put(self, key: str, value: bytes, etag: str | None) -> None:
        """Write if the key still has this etag, or is absent for None. Raises RaceLostError, StoreError."""

    async def delete(self, key: str, etag: str) -> None:
        """Delete if the key still has this etag. Raises RaceLostError, StoreError."""


class Publisher(Protocol):
    """Topics.

    `keeps_order`: a call may carry several events of one connection, and they arrive in order. `lanes`: how many calls
    at a time are of use.
    """

    keeps_order: bool
    lanes: int

    async def publish_many(self, events: Sequence[Event]) -> None:
        """Publish and wait for the acknowledgement. Raises PublishError, EventRefusedError."""


class DeadLetters(Protocol):
    """What was refused for good, kept until it is taken in again."""

    async def read(self) -> list[DeadLetter]:
        """All that are there, the oldest first. Raises StoreError."""

    async def remove(self, letters: Sequence[DeadLetter]) -> None:
        """Take out one for each of these; what is not there is passed over. Raises StoreError."""


class Nudges(Protocol):
    """Hints to the host that a record has changed; they may be lost, late or doubled."""

    async def nudge(self, topic: str, connection_id: str) -> None:
        """Send a hint. Never raises: a lost nudge costs time only."""


class Clock(Protocol):
    """Time, injected."""

    def now(self) -> datetime:
        """Wall time in UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


Random = Callable[[], float]
"""A number in [0, 1)."""


class Resolver(Protocol):
    """Names to addresses."""

    async def resolve(self, host: str, port: int) -> list[str]:
        """Every address of a host, literals included. Raises DialError."""


@dataclass(frozen=True, slots=True)
class Dial:
    """One dial: the URL, and the checked addresses, the proxy's if there is one: the first that answers is used."""

    url: str = field(repr=False)
    endpoint: Endpoint
    addresses: tuple[str, ...]
    options: WebSocketOptions
    handshake: Handshake = PLAIN


Take = Callable[[deque[str | bytes]], None]
"""Takes from the left of messages that were received, texts or binary ones, as many as there is room for."""


class Socket(Protocol):
    """One dialled transport. Only one task receives; sending is safe from any."""

    async def receive(self, take: Take, until_room: Callable[[], Awaitable[None]]) -> None:
        """Hand over whole messages, in order: always raises SocketLost, after all that came before was taken.

        When `take` has left some, nothing more is read from the network until `until_room` has returned.
        """

    async def send(self, message: str | bytes) -> None:
        """Send one message. Raises SocketLost."""

    async def ping(self) -> None:
        """Send a ping and wait for its pong. Raises SocketLost."""

    async def close(self, code: int, reason: str, *, is_read: bool = False) -> None:
        """Close with a handshake that is bounded in time, then cut. Never raises.

        `is_read`: a task goes on receiving, and gets all that the peer has sent before its own close frame.
        """

    def close_now(self) -> None:
        """Cut the transport."""


class Dialer(Protocol):
    """Opens sockets."""

    async def dial(self, dial: Dial) -> Socket:
        """Connect to a checked address and shake hands. Raises DialError."""


class Observer(Protocol):
    """Logs and counters: constant names plus fields."""

    def log(self, event: str, **fields: object) -> None:
        """Something that an operator reads."""

    def warn(self, event: str, **fields: object) -> None:
        """Something that an operator should look at."""


class Meters(Protocol):
    """Counters of a process, told at each command, call, gap and redial; never at a frame. `kind`: frame or event."""

    def command_ended(self, command: str, status: str) -> None:
        """A command has an outcome; a send or request has a second one later."""

    def gap_announced(self, kind: str, frames: int) -> None:
        """A gap is known; `frames` were read and dropped."""

    def handed_over(self, *, is_complete: bool) -> None:
        """A connection was moved to another host, or came back from one; `is_complete`: without a gap."""

    def socket_exchanged(self) -> None:
        """A socket that was due was exchanged for a new one."""

    def redial_planned(self, failure: str) -> None:
        """A socket was lost or not made, and another try will follow."""

    def publish_ended(self, kind: str, events: int, seconds: float) -> None:
        """A publish call was acknowledged for so many events."""

    def publish_failed(self, kind: str, published: int) -> None:
        """A publish call failed; its first `published` events are known to have arrived."""

    def dead_lettered(self) -> None:
        """Something was refused for good."""


class NoMeters:
    """Counts nothing."""

    def command_ended(self, command: str, status: str) -> None: ...
    def gap_announced(self, kind: str, frames: int) -> None: ...
    def handed_over(self, *, is_complete: bool) -> None: ...
    def socket_exchanged(self) -> None: ...
    def redial_planned(self, failure: str) -> None: ...
    def publish_ended(self, kind: str, events: int, seconds: float) -> None: ...
    def publish_failed(self, kind: str, published: int) -> None: ...
    def dead_lettered(self) -> None: ...


NO_METERS = NoMeters()


@dataclass(frozen=True, slots=True)
class Gauges:
    """What a process holds now, told when asked.

    `connections`: by status. `frames_received`, `frames_filtered`: since the start. `lease_age_s`: since the last
    renewal that succeeded was sent; None without a host.
    """

    connections: Mapping[str, int] = field(default_factory=dict)
    frames_received: int = 0
    frames_filtered: int = 0
    queued_messages: int = 0
    queued_bytes: int = 0
    queued_events: int = 0
    lease_age_s: float | None = None


class Sweeper(Protocol):
    """The host's look at leases and records."""

    async def tick(self) -> None:
        """Find out what is due; what that is goes on afterwards. Raises StoreError, GarbageRecordError."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """What a host knows of a connection that it holds, and never stores.

    `sequence`: of the last frame numbered in this epoch. `unpublished`: frames of this epoch that came while no topic
    was set. `queued_messages`, `queued_bytes`: read and not yet published. `waits_until`: no dial before that, for what
    `waits_for` says. `filtered`: frames of this epoch that options leave out.
    """

    last_frame_at: datetime | None
    sequence: int
    unpublished: int
    queued_messages: int
    queued_bytes: int
    waits_until: datetime | None = None
    waits_for: str | None = None
    filtered: int = 0


@dataclass(frozen=True, slots=True)
class Ports:
    """All that a profile has to bring."""

    store: StateStore
    publisher: Publisher
    nudges: Nudges
    dead_letters: DeadLetters
    resolver: Resolver
    dialer: Dialer
    clock: Clock
    random: Random
    observer: Observer
    meters: Meters = NO_METERS
    sources: Sources = field(default_factory=Sources)
