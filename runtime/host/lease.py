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
    """The lease of this process. Ask for its `predecessor` before `begin`."""

    instance: Instance
    records: Records
    clock: Clock
    observer: Observer
    interval_s: float
    load: Callable[[], int]
    read_until: Callable[[], datetime]
    renewed_at: float | None = None  # monotonic: when the last renewal that succeeded was sent

    async def predecessor(self) -> Instance | None:
        """What the process before this one under the same id has said last. Raises StoreError, GarbageRecordError."""
        key = instance_key(self.instance.id)
        stored = await self.records.store.get(key)
        return decode(Instance, key, stored.value) if stored else None

    async def begin(self) -> None:
        """List this instance and write the first beat, over that of its predecessor. Raises StoreError."""
        await self.records.change(DaprConstants.INSTANCES_KEY, InstanceList, self._listed)
        await self.beat()

    async def beat(self) -> None:
        """Write one heartbeat. Raises StoreError."""
        self.instance = self.instance.model_copy(
            update={"beat": self.instance.beat + 1, "load": self.load(), "read_until": self.read_until()}
        )
        sent_at = self.clock.monotonic()
        await self.records.change(instance_key(self.instance.id), Instance, lambda _: self.instance)
        self.renewed_at = sent_at

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
