"""The heartbeat of a host: rewrites its lease, which also says up to when everything received was published."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from runtime.errors import GarbageRecordError, StoreError
from runtime.models.constants import DaprConstants, instance_key
from runtime.models.instance import Instance, InstanceList
from runtime.ports import Clock, Observer
from runtime.records import Records, decode


@dataclass(slots=True)
class Lease:
    """The lease of this process. `begin` returns what the process before it under the same id had said last."""

    instance: Instance
    records: Records
    clock: Clock
    observer: Observer
    interval_s: float
    load: Callable[[], int]
    read_until: Callable[[], datetime]

    async def begin(self) -> Instance | None:
        """Read the predecessor's lease, list this instance, write the first beat. Raises StoreError."""
        key = instance_key(self.instance.id)
        stored = await self.records.store.get(key)
        before = decode(Instance, key, stored.value) if stored else None
        await self.records.change(DaprConstants.INSTANCES_KEY, InstanceList, self._listed)
        await self.beat()
        return before

    async def beat(self) -> None:
        """Write one heartbeat. Raises StoreError."""
        self.instance = self.instance.model_copy(
            update={"beat": self.instance.beat + 1, "load": self.load(), "read_until": self.read_until()}
        )
        await self.records.change(instance_key(self.instance.id), Instance, lambda _: self.instance)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await self.clock.sleep(self.interval_s)
            try:
                await self.beat()
            except (StoreError, GarbageRecordError) as error:
                self.observer.warn("heartbeat_failed", reason=str(error))
                await self.clock.sleep(1)

    def _listed(self, instances: InstanceList | None) -> InstanceList | None:
        ids = instances.ids if instances else ()
        return None if self.instance.id in ids else InstanceList(ids=(*ids, self.instance.id))
