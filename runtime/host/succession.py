"""The start under an id that another process had: its lease must be dead, or that process must not be there."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.errors import InstanceIdTakenError, StoreError
from runtime.host.lease import RETRY_S, Lease, taken
from runtime.host.watch import Watch
from runtime.models.instance import Instance
from runtime.ports import Clock, Observer


@dataclass(slots=True)
class Succession:
    """Begins a lease when the one before is dead."""

    lease: Lease
    watch: Watch
    clock: Clock
    observer: Observer
    is_waiting: bool = False

    async def until_free(self) -> Instance | None:
        """The lease of the process before this one, once that cannot act any more; None where there was none.

        Raises InstanceIdTakenError when it is seen to beat, GarbageRecordError.
        """
        instance, first = self.lease.instance, None
        while True:
            try:
                await self.watch.look()
            except StoreError as error:
                self.observer.warn("lease_not_read", reason=str(error))
                await self.clock.sleep(RETRY_S)
                continue
            before = self.watch.lease_of(instance.id)
            if before is None or before.incarnation == instance.incarnation or self.watch.is_gone(instance.id):
                self.is_waiting = False
                return before
            if first is not None and first != (before.incarnation, before.beat):
                raise InstanceIdTakenError(taken(instance.id))
            if first is None:
                self.is_waiting = True
                lease_s = self.watch.lease_s
                self.observer.log("waiting_for_predecessor", instance=instance.id, at_most_s=lease_s)
            first = before.incarnation, before.beat
            await self.clock.sleep(self.lease.interval_s)

    def why_not(self) -> str | None:
        """Why the host has not begun, if this is why."""
        if not self.is_waiting:
            return None
        id_, lease_s = self.lease.instance.id, self.watch.lease_s
        return f"waiting until the lease of the process before this one under the id '{id_}' is {lease_s:g} s old"
