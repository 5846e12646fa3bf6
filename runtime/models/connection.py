"""The record of a connection: the desired half, the actual half, and what never leaves the process."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Protocol, Self, cast
from weakref import WeakValueDictionary

import orjson
from pydantic import BeforeValidator, Field, PlainSerializer, PrivateAttr

from runtime.models.constants import ID, SCHEMA_VERSION
from runtime.models.handover import Handover
from runtime.models.options import WebSocketOptions
from runtime.models.outcome import Outcome
from runtime.models.status import ConnectionStatus
from runtime.models.wire import UtcTime, WireModel

MAX_OUTCOMES = 16
MAX_TAGS, MAX_TAG_KEY, MAX_TAG_VALUE = 50, 128, 1024
_DOTNET_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_in_use: WeakValueDictionary[bytes, WebSocketOptions] = WeakValueDictionary()
_NONE: dict[Any, Any] = {}
_NO_FIELDS: frozenset[str] = frozenset()  # said to be set: so a changed copy is an error

Status = Annotated[
    ConnectionStatus,
    BeforeValidator(ConnectionStatus.parse),
    PlainSerializer(int, return_type=int),
]


class Desired(StrEnum):
    """What the user wants of a connection."""

    CONNECTED = "connected"
    DISCONNECTED = "disconnected"
    REMOVED = "removed"


class Aspect(StrEnum):
    """The parts of a connection whose commands are ordered by time, each for itself."""

    LIFE = "life"
    TOPIC = "topic"
    TAGS = "tags"


class RuntimeSocket(Protocol):
    """What the record keeps of a live socket."""

    def close_now(self) -> None:
        """Cut the transport without a close handshake."""


class Cancellable(Protocol):
    """A cancellation handle."""

    def cancel(self) -> object:
        """Ask for the end."""


class ReceiveTask(Cancellable, Protocol):
    """The task that runs the receive loop."""

    def done(self) -> bool:
        """Whether it has ended."""


def _null_is_default(value: object) -> object:
    return {} if value is None else value


class DaprStateStoreEntry(WireModel):
    """A connection as it is stored: the seed's seven fields, the additive ones, and any that are unknown here."""

    id: str = ""
    url: str = ""
    status: Status = ConnectionStatus.DISCONNECTED
    topic: str | None = None
    auto_reconnect: bool = False
    created_at: UtcTime = _DOTNET_EPOCH
    instance_id: str | None = Field(None, pattern=ID)

    schema_version: int = SCHEMA_VERSION
    desired: Desired = Desired.CONNECTED
    generation: int = Field(1, ge=0)
    tags: Annotated[dict[str, str], BeforeValidator(_null_is_default)] = {}
    options: Annotated[WebSocketOptions, BeforeValidator(_null_is_default)] = WebSocketOptions()
    applied: Annotated[dict[Aspect, UtcTime], BeforeValidator(_null_is_default)] = {}
    outcomes: Annotated[dict[str, Outcome], BeforeValidator(_null_is_default)] = {}

    ended_generation: int = Field(0, ge=0)
    epoch: int = Field(0, ge=0)
    updated_at: UtcTime | None = None
    last_error: str | None = None
    read_until: UtcTime | None = None
    handover: Handover | None = None

    @classmethod
    def from_connection(cls, connection: WebSocketConnection) -> DaprStateStoreEntry:
        """Copy every persistable property."""
        assert connection.model_fields_set, "this is what a host holds, without what others have written"
        return cls.model_construct(connection.model_fields_set, **_fields(connection))

    def to_connection(self) -> WebSocketConnection:
        """Copy every property; the runtime-only ones are null."""
        return WebSocketConnection.model_construct(self.model_fields_set, **_fields(self))


class WebSocketConnection(DaprStateStoreEntry):
    """A managed outbound connection. `websocket`, `cancellation` and `receive_task` never reach the store.

    Handlers write url, topic, tags, options, autoReconnect, desired, generation, applied and outcomes; the owning
    host writes status, instanceId, epoch, endedGeneration, updatedAt, lastError, handover and readUntil, the time up
    to which everything received is known to be published.
    """

    _websocket: RuntimeSocket | None = PrivateAttr(default=None)
    _cancellation: Cancellable | None = PrivateAttr(default=None)
    _receive_task: ReceiveTask | None = PrivateAttr(default=None)

    @classmethod
    def create(cls, id: str, now: datetime) -> Self:  # noqa: A002 - the seed's name of the field
        """Make a record where none was. Its epoch starts at the Unix time, so that a re-creation repeats none."""
        return cls(id=id, created_at=now, generation=0, epoch=int(now.timestamp()))

    @property
    def websocket(self) -> RuntimeSocket | None:
        """The live socket, in the owner's process only."""
        return self._websocket

    @property
    def cancellation(self) -> Cancellable | None:
        """The cancellation handle of the receive loop, in the owner's process only."""
        return self._cancellation

    @property
    def receive_task(self) -> ReceiveTask | None:
        """The task that runs the receive loop, in the owner's process only."""
        return self._receive_task

    def attach(
        self,
        *,
        websocket: RuntimeSocket | None = None,
        cancellation: Cancellable | None = None,
        receive_task: ReceiveTask | None = None,
    ) -> None:
        """Set the runtime-only fields; what is left out becomes null."""
        self._websocket, self._cancellation, self._receive_task = websocket, cancellation, receive_task

    @property
    def is_removed(self) -> bool:
        """Whether this is a tombstone."""
        return self.desired is Desired.REMOVED

    @property
    def is_wanted(self) -> bool:
        """Whether a host should dial: desired, and this generation has not ended."""
        return self.desired is Desired.CONNECTED and self.generation > self.ended_generation

    def changed(self, **fields: Any) -> Self:
        """A copy with these fields changed; unknown fields are kept."""
        return self.model_copy(update=fields)

    def at(self, aspect: Aspect, issued_at: datetime) -> Self:
        """A copy whose last command on this aspect was issued then."""
        return self.changed(applied={**self.applied, aspect: issued_at})

    def keeping(self, outcome: Outcome) -> Self:
        """A copy that also remembers this outcome, and at most the last 16."""
        outcomes = {key: kept for key, kept in self.outcomes.items() if key != outcome.command_id}
        outcomes[outcome.command_id] = outcome
        recent = dict(list(outcomes.items())[-MAX_OUTCOMES:])
        return self.changed(outcomes=recent)

    def is_purgeable(self, now: datetime, ttl_s: float) -> bool:
        """Whether nothing was written to this tombstone for `ttl_s`; its command may have been issued long before."""
        written = [self.updated_at, self.applied.get(Aspect.LIFE), *(outcome.at for outcome in self.outcomes.values())]
        since = max((moment for moment in written if moment is not None), default=self.created_at)
        return self.is_removed and self.instance_id is None and now - since > timedelta(seconds=ttl_s)


class HeldConnection(WebSocketConnection, extra="ignore"):
    """A connection as its host holds it, in a tenth of the memory. It cannot be changed, and must not be stored.

    It has no tags, commands, outcomes and times, which only handlers look at, and shares its options with equal ones.
    """

    @classmethod
    def of(cls, record: WebSocketConnection) -> HeldConnection:
        """What the host needs to know of a record."""
        lean: dict[str, Any] = {
            "tags": _NONE,
            "applied": _NONE,
            "outcomes": _NONE,
            "created_at": _DOTNET_EPOCH,
            "updated_at": None,
            "instance_id": sys.intern(record.instance_id) if record.instance_id is not None else None,
            "options": _shared(record.options),
        }
        return cls.model_construct(cast(set[str], _NO_FIELDS), **{**record.__dict__, **lean})


def _shared(options: WebSocketOptions) -> WebSocketOptions:
    """One object for all connections with the same options, which take 4 KB or more."""
    try:
        return _in_use.setdefault(options.to_json(), options)
    except orjson.JSONEncodeError:  # what was read may hold numbers that cannot be written
        return options


def _fields(entry: DaprStateStoreEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.model_fields_set} | (entry.model_extra or {})
