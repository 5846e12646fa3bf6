"""What the owning host may change in a record, as pure functions from record to record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from enum import StrEnum

from runtime.errors import OwnershipLostError
from runtime.models.connection import WebSocketConnection
from runtime.models.handover import Handover
from runtime.models.status import ConnectionStatus, transition

_S = ConnectionStatus


class Step(StrEnum):
    """What a host has to do about a record."""

    NOTHING = "nothing"
    CLAIM = "claim"
    END = "end"
    RELEASE = "release"
    PURGE = "purge"


def next_step(
    record: WebSocketConnection,
    instance_id: str,
    *,
    is_gone: Callable[[str], bool],
    now: datetime,
    tombstone_ttl_s: float,
) -> Step:
    """Tell what a host that holds no socket for this record should do. `is_gone`: whether a host is known dead."""
    if record.is_purgeable(now, tombstone_ttl_s):
        return Step.PURGE
    owner = record.instance_id
    if owner not in {None, instance_id} and not is_gone(owner):
        is_offered = is_offered_to(record, instance_id) and record.is_wanted and record.auto_reconnect
        return Step.CLAIM if is_offered else Step.NOTHING
    if not record.is_wanted:
        settled = record.status is _S.DISCONNECTED and owner is None
        return Step.NOTHING if settled else Step.RELEASE
    if not record.auto_reconnect and record.status is not _S.DISCONNECTED:
        return Step.END  # one socket for one life: the loss of its host has ended it
    return Step.CLAIM


def claim(
    record: WebSocketConnection,
    instance_id: str,
    now: datetime,
    read_until: datetime | None = None,
    *,
    from_living: bool = False,
) -> WebSocketConnection:
    """Become the owner under the next epoch. `read_until`: what the lease of the owner before said last.

    What that leaves open is announced under the new epoch, unless it is the first of a generation. `from_living`: the
    owner before has offered it, lives, and reads until the new socket is open.
    """
    epoch = record.epoch or int(now.timestamp())  # a record of another writer has none yet
    target = {
        _S.DISCONNECTED: _S.CONNECTING,
        _S.CONNECTING: _S.CONNECTING,
        _S.CONNECTED: _S.RECONNECTING,
        _S.RECONNECTING: _S.RECONNECTING,
    }[record.status]
    fresh = record.status is _S.DISCONNECTED  # the first epoch of a generation misses nothing
    blind_from = None if fresh else published_until(record, read_until) or record.updated_at
    return record.changed(
        instance_id=instance_id,
        epoch=epoch + 1,
        status=transition(record.status, target),
        updated_at=now,
        read_until=blind_from,
        handover=record.handover if from_living else None,
    )


def published_until(record: WebSocketConnection, read_until: datetime | None) -> datetime | None:
    """Up to when all is published that the owner before had received; `read_until`: what its lease said last.

    The record and the lease each know a time after which nothing is certain: the earlier one counts, since frames
    that were read before the socket was lost may have died in memory. That of a Connected record is the begin of the
    gap that its socket has announced; it counts until the lease has been renewed after that, and so knows of it. While
    it takes the connection over, it is what the lease of the host before knew: that host may have died since. What it
    has only offered itself is as it was.
    """
    lease_knows = read_until is not None and record.updated_at is not None and read_until > record.updated_at
    is_arriving = record.handover is not None and record.handover.epoch != record.epoch
    if record.status is _S.CONNECTED and lease_knows and not is_arriving:
        return read_until
    return min((moment for moment in (record.read_until, read_until) if moment is not None), default=None)


def owner_of(record: WebSocketConnection) -> tuple[str | None, int]:
    """Who owns it, and under which epoch."""
    return record.instance_id, record.epoch


def check_owner(record: WebSocketConnection | None, instance_id: str, epoch: int) -> WebSocketConnection:
    """The record, if this owner and epoch still hold it. Raises OwnershipLostError."""
    if record is None or owner_of(record) != (instance_id, epoch):
        raise OwnershipLostError("the record carries another owner or epoch")
    return record


def report(
    record: WebSocketConnection | None,
    *,
    instance_id: str,
    epoch: int,
    status: ConnectionStatus,
    last_error: str | None,
    read_until: datetime | None,
    now: datetime,
) -> WebSocketConnection | None:
    """Write the actual status; None when nothing changes. Raises OwnershipLostError.

    Whatever status is stored gives way: writes are coalesced, and another service may have written one of its own.
    That the owner's steps are legal is checked where they are made (`Reporter`).
    """
    owned = check_owner(record, instance_id, epoch)
    if (owned.status, owned.last_error, owned.read_until) == (status, last_error, read_until):
        return None
    return owned.changed(status=status, last_error=last_error, read_until=read_until, updated_at=now)


def end(
    record: WebSocketConnection | None,
    *,
    instance_id: str,
    epoch: int,
    generation: int,
    reason: str | None,
    now: datetime,
    is_published: bool = True,
) -> WebSocketConnection:
    """This generation is over: Disconnected, not dialled again until a command asks for it.

    Unowned too, if all that was read is published; else nobody may publish before this owner has, and so lets go.
    """
    owned = check_owner(record, instance_id, epoch)
    return owned.changed(
        status=transition(owned.status, _S.DISCONNECTED),
        instance_id=None if is_published else instance_id,
        ended_generation=max(owned.ended_generation, generation),
        last_error=reason,
        updated_at=now,
        read_until=None,
        handover=None,
    )


def let_go(record: WebSocketConnection | None, *, instance_id: str, epoch: int) -> WebSocketConnection:
    """What has ended is published by now. Raises OwnershipLostError."""
    return check_owner(record, instance_id, epoch).changed(instance_id=None)


def release(
    record: WebSocketConnection | None,
    *,
    instance_id: str,
    epoch: int,
    reason: str,
    read_until: datetime,
    now: datetime,
) -> WebSocketConnection:
    """Let go of a connection that should live on elsewhere or later."""
    owned = check_owner(record, instance_id, epoch)
    status = _S.RECONNECTING if owned.status is _S.CONNECTED else owned.status
    return owned.changed(
        status=status, instance_id=None, last_error=reason, updated_at=now, read_until=read_until, handover=None
    )


def settle(record: WebSocketConnection, now: datetime, reason: str | None = None) -> WebSocketConnection:
    """Disconnected and unowned, for a record whose owner is gone and which nobody wants dialled."""
    return record.changed(
        status=_S.DISCONNECTED,
        instance_id=None,
        ended_generation=max(record.ended_generation, record.generation),
        last_error=reason or record.last_error,
        updated_at=now,
        read_until=None,
        handover=None,
    )


def wishes(record: WebSocketConnection) -> tuple[object, ...]:
    """What an owner acts on."""
    return *owner_of(record), record.generation, record.desired, record.topic, record.auto_reconnect


def is_offered_to(record: WebSocketConnection, instance_id: str) -> bool:
    """Whether the owner waits for this host to take the connection."""
    handover = record.handover
    return handover is not None and handover.epoch == record.epoch and handover.to in {None, instance_id}


def is_taken_from(record: WebSocketConnection, instance_id: str, epoch: int) -> bool:
    """Whether another host owns what this one has offered under this epoch, and the handover is still going on."""
    handover = record.handover
    is_mine = handover is not None and (handover.source, handover.epoch) == (instance_id, epoch)
    return is_mine and record.epoch == epoch + 1 and record.instance_id is not None


def offer(
    record: WebSocketConnection | None, *, instance_id: str, epoch: int, to: str | None, within_s: float
) -> WebSocketConnection | None:
    """Give the connection away; None when it is offered so already. Raises OwnershipLostError."""
    owned = check_owner(record, instance_id, epoch)
    handover = Handover(source=instance_id, epoch=epoch, to=to, within_s=within_s)
    return None if owned.handover == handover else owned.changed(handover=handover)


def withdraw(record: WebSocketConnection | None, *, instance_id: str, epoch: int) -> WebSocketConnection | None:
    """Nobody has taken it. None when it is not offered. Raises OwnershipLostError."""
    owned = check_owner(record, instance_id, epoch)
    return owned.changed(handover=None) if owned.handover is not None else None


def settle_in(
    record: WebSocketConnection | None, *, instance_id: str, epoch: int, now: datetime
) -> WebSocketConnection | None:
    """All is taken: from now on this owner's lease tells what is published. Raises OwnershipLostError."""
    owned = check_owner(record, instance_id, epoch)
    return owned.changed(handover=None, updated_at=now) if owned.handover is not None else None


def finish(
    record: WebSocketConnection | None,
    *,
    instance_id: str,
    epoch: int,
    last_sequence: int,
    read_until: datetime | None,
) -> WebSocketConnection | None:
    """The owner before has published its last frame. `read_until`: see `Handover`. None when nobody waits for that."""
    if record is None or not is_taken_from(record, instance_id, epoch):
        return None
    handover = record.handover
    if handover is None or handover.is_finished:
        return None
    finished = handover.model_copy(update={"last_sequence": last_sequence, "read_until": read_until})
    return record.changed(handover=finished)


def take_back(
    record: WebSocketConnection | None, *, instance_id: str, epoch: int, now: datetime
) -> WebSocketConnection | None:
    """Own again, under a new epoch, what was taken by a host that has not connected in time. None: it is too late."""
    if record is None or not is_taken_from(record, instance_id, epoch) or record.status is _S.CONNECTED:
        return None
    return record.changed(instance_id=instance_id, epoch=record.epoch + 1, updated_at=now, handover=None)
