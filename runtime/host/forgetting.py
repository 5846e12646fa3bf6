"""Hosts that have ended long ago are no longer listed: names of replicas are new at every deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from runtime.errors import GarbageRecordError, RaceLostError, StoreError
from runtime.host.watch import Watch
from runtime.models.constants import DaprConstants, instance_key, vitals_key
from runtime.models.instance import Instance, InstanceList
from runtime.models.vitals import VitalsPage
from runtime.ports import Clock, Observer
from runtime.records import Records, decode

KEPT = timedelta(days=1)
EVERY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Forgetting:
    """Removes what dead hosts have left beside their records.

    That a host is dead is told by this process's own clock; how long ago by that of the host, which is good enough for
    tidying up. Every key is removed only as it was read, and a host that comes back meanwhile lists itself again.
    """

    watch: Watch
    records: Records
    clock: Clock
    observer: Observer

    async def run(self) -> None:
        """Forget until cancelled, every hour: who starts has seen nobody die yet."""
        while True:
            await self.clock.sleep(EVERY_S)
            try:
                await self.forget_all()
            except (StoreError, GarbageRecordError) as error:
                self.observer.log("not_forgotten", reason=str(error))

    async def forget_all(self) -> None:
        """All that are dead for a day. Raises StoreError, GarbageRecordError."""
        for id_, lease in self.watch.dead_since(self.clock.now() - KEPT):
            try:
                if await self._forget(id_, lease):
                    self.observer.log("instance_forgotten", instance=id_)
            except RaceLostError:  # it is back, or another host forgets it
                continue

    async def _forget(self, id_: str, seen: Instance | None) -> bool:
        store, key = self.records.store, instance_key(id_)
        stored = await store.get(key)
        if stored is not None:
            lease = _read(key, stored.value)
            if lease is not None and (seen is None or (lease.incarnation, lease.beat) != (seen.incarnation, seen.beat)):
                return False
        await self._forget_vitals(id_)
        if stored is not None:
            await store.delete(key, stored.etag)
        await self._change_list(lambda instances: instances.without(id_))
        if await store.get(key) is not None:  # started again in this very moment
            await self._change_list(lambda instances: instances.with_fresh(id_))
            return False
        return True

    async def _forget_vitals(self, id_: str) -> None:
        first = await self.records.store.get(vitals_key(id_))
        if first is None:
            return
        try:
            pages = decode(VitalsPage, vitals_key(id_), first.value).pages
        except GarbageRecordError:
            pages = 1
        for number in reversed(range(pages)):  # the first says how many there are
            stored = await self.records.store.get(vitals_key(id_, number))
            if stored is not None:
                await self.records.store.delete(vitals_key(id_, number), stored.etag)

    async def _change_list(self, how: Callable[[InstanceList], InstanceList]) -> None:
        await self.records.change(DaprConstants.INSTANCES_KEY, InstanceList, lambda found: how(found or InstanceList()))


def _read(key: str, value: bytes) -> Instance | None:
    try:
        found: Instance = decode(Instance, key, value)
    except GarbageRecordError:
        return None
    return found
