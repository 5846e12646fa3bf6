"""Which hosts are dead: judged by this observer's own clock, never by comparing the clocks of two machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from runtime.errors import GarbageRecordError
from runtime.models.constants import DaprConstants, instance_key
from runtime.models.instance import Instance, InstanceList
from runtime.ports import Clock, Stored
from runtime.records import Records, decode

KEPT_LEASES = 10  # so many leases long a host that is not listed is looked for after the last question about it


class Others(Protocol):
    """The other hosts, as far as this one can tell."""

    def is_gone(self, instance_id: str) -> bool:
        """Whether a host is known to be dead or to have ended, so that its records may be claimed."""

    async def look_again(self, instance_id: str) -> None:
        """Read the lease of a host that is gone: it may have begun anew, and own what was read since.

        Raises StoreError. A record that still names it may be claimed if it was read before this, and has not changed.
        """

    def last_word_of(self, instance_id: str) -> datetime | None:
        """Up to when a host had published all that it had read, as it said last; None if it never said so."""

    def living(self) -> Mapping[str, Instance]:
        """Those that were seen to beat, and neither are gone nor drain, with their leases."""


class Nobody:
    """There are no others: whoever is named in a record was this host under another name."""

    def is_gone(self, instance_id: str) -> bool:
        return True

    async def look_again(self, instance_id: str) -> None:
        pass

    def last_word_of(self, instance_id: str) -> datetime | None:
        return None

    def living(self) -> Mapping[str, Instance]:
        return {}


@dataclass(frozen=True, slots=True)
class _Sign:
    """A lease as it was read last; between `since` and `until` (monotonic) all reads have shown this beat."""

    lease: Instance | None
    since: float
    until: float
    lease_s: float
    has_beaten: bool
    last_word: datetime | None

    @property
    def is_gone(self) -> bool:
        """Whether it has ended, or is silent for too long."""
        has_ended = self.lease is not None and self.lease.has_ended
        return has_ended or self.until - self.since >= self.lease_s

    def then(self, lease: Instance | None, asked_at: float, answered_at: float, *, has_paused: bool) -> _Sign:
        """After another read."""
        has_beaten = self.has_beaten and not self.is_gone
        since, until = self.since, asked_at
        if _beat(lease) != _beat(self.lease):
            has_beaten = lease is not None
            since = until = answered_at
        elif has_paused:
            since = until = answered_at
        return _Sign(lease, since, until, self.lease_s, has_beaten, _word(lease) or self.last_word)


@dataclass(slots=True)
class Watch:
    """Others, by their leases, of which `look` is to be called at every heartbeat.

    One is gone when reads over `lease_s` have shown the same beat, or none at all; at once when its last beat says
    that it has ended. After a pause of half a lease without a read all counts begin anew: who could not read the store
    does not know whether others could write to it. A beat is taken to be as old as its read may be: from the answer
    to the first read to the question of the last.
    """

    records: Records
    clock: Clock
    lease_s: float
    instance_id: str = ""
    on_told_to_drain: Callable[[], None] | None = None
    _signs: dict[str, _Sign] = field(default_factory=dict)
    _asked: dict[str, float] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)
    _list: InstanceList = field(default_factory=InstanceList)
    _looked_at: float | None = None

    async def look(self) -> set[str]:
        """Read all leases; the hosts that are gone since the last look. Raises StoreError, GarbageRecordError."""
        asked_at, store = self.clock.monotonic(), self.records.store
        stored = await store.get(DaprConstants.INSTANCES_KEY)
        listed = decode(InstanceList, DaprConstants.INSTANCES_KEY, stored.value) if stored else InstanceList()
        self._forget_unlisted(listed, asked_at)
        ids = {*listed.ids, *self._asked, *self._signs}
        found = await store.get_many([instance_key(id_) for id_ in ids])
        answered_at = self.clock.monotonic()
        has_paused = self._looked_at is None or asked_at - self._looked_at > self.lease_s / 2
        for id_ in ids:
            lease, known = _read(instance_key(id_), found), self._signs.get(id_)
            if known is None:
                is_fresh = self._looked_at is not None and id_ in listed.ids and lease is not None
                self._signs[id_] = _Sign(lease, answered_at, answered_at, self.lease_s, is_fresh, _word(lease))
            else:
                self._signs[id_] = known.then(lease, asked_at, answered_at, has_paused=has_paused)
        self._looked_at, self._list = asked_at, listed
        before, self._gone = self._gone, {id_ for id_ in ids if self._signs[id_].is_gone}
        if self.on_told_to_drain is not None and self.told_to_drain(self.instance_id):
            self.on_told_to_drain()
        return self._gone - before

    def is_gone(self, instance_id: str) -> bool:
        now = self._asked[instance_id] = self.clock.monotonic()
        is_known = self._looked_at is not None and now - self._looked_at <= self.lease_s / 2  # else it may be back
        return is_known and instance_id in self._gone

    async def look_again(self, instance_id: str) -> None:
        key = instance_key(instance_id)
        stored = await self.records.store.get(key)
        lease = _read(key, {key: stored} if stored is not None else {})
        if _beat(lease) != _beat(self.lease_of(instance_id)):
            self._gone.discard(instance_id)  # the next look judges the one that is there now

    def last_word_of(self, instance_id: str) -> datetime | None:
        sign = self._signs.get(instance_id)
        return sign.last_word if sign is not None else None

    def lease_of(self, instance_id: str) -> Instance | None:
        """What the last look has read of a host."""
        sign = self._signs.get(instance_id)
        return sign.lease if sign is not None else None

    def living(self) -> Mapping[str, Instance]:
        return {
            id_: sign.lease
            for id_, sign in self._signs.items()
            if id_ != self.instance_id
            and sign.has_beaten
            and sign.lease is not None
            and not (id_ in self._gone or sign.lease.is_draining or self.told_to_drain(id_))
        }

    def told_to_drain(self, instance_id: str) -> bool:
        """Whether a host was told to hand its connections over."""
        return instance_id in self._list.draining

    def dead_since(self, moment: datetime) -> list[tuple[str, Instance | None]]:
        """Hosts that are listed, gone, and say of themselves that they beat last before a moment."""
        leases = ((id_, self.lease_of(id_)) for id_ in self._list.ids if id_ in self._gone)
        return [(id_, lease) for id_, lease in leases if lease is None or (lease.beat_at or lease.started_at) < moment]

    def _forget_unlisted(self, listed: InstanceList, now: float) -> None:
        """Whoever is named in no list and in no record any more is not looked for for ever."""
        kept_s = KEPT_LEASES * self.lease_s
        for id_ in [id_ for id_, asked_at in self._asked.items() if now - asked_at > kept_s]:
            del self._asked[id_]
        for id_ in [id_ for id_ in self._signs if id_ not in self._asked and id_ not in listed.ids]:
            del self._signs[id_]


def _beat(lease: Instance | None) -> tuple[str, int] | None:
    return (lease.incarnation, lease.beat) if lease is not None else None


def _word(lease: Instance | None) -> datetime | None:
    return lease.read_until if lease is not None else None


def _read(key: str, found: Mapping[str, Stored]) -> Instance | None:
    """A lease; one that cannot be read is as good as none."""
    try:
        return decode(Instance, key, found[key].value) if key in found else None
    except GarbageRecordError:
        return None
