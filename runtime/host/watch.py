"""Which hosts are dead: judged by this observer's own clock, never by comparing the clocks of two machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from runtime.errors import GarbageRecordError
from runtime.models.constants import DaprConstants, instance_key
from runtime.models.instance import Instance, InstanceList
from runtime.ports import Clock, Stored
from runtime.records import Records, decode


class Others(Protocol):
    """The other hosts, as far as this one can tell."""

    def is_gone(self, instance_id: str) -> bool:
        """Whether a host is known to be dead, so that its records may be claimed."""

    def last_word_of(self, instance_id: str) -> datetime | None:
        """Up to when a host had published all that it had read, as it said last; None if it never said so."""


class Nobody:
    """There are no others: whoever is named in a record was this host under another name."""

    def is_gone(self, instance_id: str) -> bool:
        return True

    def last_word_of(self, instance_id: str) -> datetime | None:
        return None


@dataclass(frozen=True, slots=True)
class _Sign:
    """A beat as it was read, and the times (monotonic) of the first and the last read that showed it."""

    incarnation: str
    beat: int
    since: float
    until: float
    read_until: datetime | None = None


@dataclass(slots=True)
class Watch:
    """Others, by their leases: one is gone when two reads `lease_s` apart have shown the same beat, or none at all."""

    records: Records
    clock: Clock
    lease_s: float
    _signs: dict[str, _Sign] = field(default_factory=dict)

    async def look(self) -> None:
        """Read all leases. Raises StoreError, GarbageRecordError."""
        store = self.records.store
        stored = await store.get(DaprConstants.INSTANCES_KEY)
        listed = decode(InstanceList, DaprConstants.INSTANCES_KEY, stored.value).ids if stored else ()
        ids = {*listed, *self._signs}
        found = await store.get_many([instance_key(id_) for id_ in ids])
        now = self.clock.monotonic()
        for id_ in ids:
            lease = _read(instance_key(id_), found)
            seen = (lease.incarnation, lease.beat) if lease is not None else ("", 0)
            known = self._signs.get(id_)
            is_same = known is not None and seen == (known.incarnation, known.beat)
            since = known.since if known is not None and is_same else now
            self._signs[id_] = _Sign(*seen, since, now, lease.read_until if lease is not None else None)

    def is_gone(self, instance_id: str) -> bool:
        now = self.clock.monotonic()
        sign = self._signs.setdefault(instance_id, _Sign("", 0, now, now))
        return sign.until - sign.since >= self.lease_s

    def last_word_of(self, instance_id: str) -> datetime | None:
        sign = self._signs.get(instance_id)
        return sign.read_until if sign is not None else None


def _read(key: str, found: Mapping[str, Stored]) -> Instance | None:
    """A lease; one that cannot be read is as good as none."""
    try:
        return decode(Instance, key, found[key].value) if key in found else None
    except GarbageRecordError:
        return None
