"""The heartbeat of a host: rewrites its lease, which also says up to when everything received was published."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from runtime.errors import GarbageRecordError, InstanceIdTakenError, StoreError
from runtime.models.constants import DaprConstants, instance_key
from runtime.models.instance import Instance, InstanceList
from runtime.ports import Clock, Observer
from runtime.records import Records, decode

RETRY_S = 1.0


class Tenure(Protocol):
    """Whether this host may act. `term` rises whenever the lease is renewed after it was not held."""

    @property
    def term(self) -> int:
        """Which stretch of unbroken tenure this is."""

    def is_held(self) -> bool:
        """Whether the last renewal that succeeded was sent less than a lease ago."""


class Always:
    """Held for ever: where nobody else could claim."""

    term = 1

    def is_held(self) -> bool:
        return True


@dataclass(frozen=True, slots=True)
class Account:
    """What a beat tells of its host, and when (monotonic) that was so."""

    load: int
    read_until: datetime
    is_draining: bool
    taken_at: float


@dataclass(slots=True)
class Lease:
    """The lease of this process. `run` may run on another loop and thread than all that asks.

    `renewed_at` (monotonic: when the last renewal that succeeded was sent), `term` and `is_taken` are written by the
    thread that beats and read by others without a lock: each is one plain attribute, and `term` rises before
    `renewed_at` makes the lease held again.
    """

    instance: Instance
    records: Records
    clock: Clock
    observer: Observer
    interval_s: float
    lease_s: float
    stall_limit_s: float
    account: Callable[[], Account]
    renewed_at: float | None = None
    term: int = 0
    is_taken: bool = False
    _before: Instance | None = None
    _is_listed: bool = False
    _is_stalled: bool = False

    @property
    def has_begun(self) -> bool:
        """Whether the first beat is written."""
        return self.renewed_at is not None

    def is_held(self) -> bool:
        """See `Tenure`."""
        if self.renewed_at is None or self.is_taken or self.instance.has_ended:
            return False
        return self.clock.monotonic() - self.renewed_at < self.lease_s

    async def predecessor(self) -> Instance | None:
        """What the process before this one under the same id has said last. Raises StoreError, GarbageRecordError."""
        key = instance_key(self.instance.id)
        stored = await self.records.store.get(key)
        return decode(Instance, key, stored.value) if stored else None

    async def begin(self, before: Instance | None = None) -> None:
        """List this instance, told to drain no more, and write the first beat over that of its predecessor.

        Raises StoreError, GarbageRecordError; InstanceIdTakenError if by now another than `before` is stored.
        """
        self._before = before
        await self.beat()

    async def beat(self, account: Account | None = None, *, is_last: bool = False) -> None:
        """Write one heartbeat. Raises StoreError, GarbageRecordError, InstanceIdTakenError."""
        told = account or self.account()
        self.instance = self.instance.model_copy(
            update={
                "beat": self.instance.beat + 1,
                "beat_at": self.clock.now(),
                "load": told.load,
                "read_until": told.read_until,
                "is_draining": told.is_draining,
                "has_ended": is_last,
            }
        )
        sent_at = self.clock.monotonic()
        try:
            async with asyncio.timeout(self.lease_s / 3):  # then rather a new one, which is worth a whole lease
                await self._write()
        except TimeoutError:
            raise StoreError(f"the lease was not written within {self.lease_s / 3:g} s") from None
        if self.renewed_at is None or self.clock.monotonic() - self.renewed_at >= self.lease_s:
            self.term += 1
        self.renewed_at, self._before = sent_at, None

    async def run(self) -> None:
        """Beat until cancelled, save while the main loop does not tick. Raises InstanceIdTakenError."""
        pause_s = self.interval_s
        while True:
            await self.clock.sleep(pause_s)
            pause_s = min(RETRY_S, self.interval_s)
            account = self.account()
            if self._does_stall(account):
                continue
            try:
                await self.beat(account)
            except (StoreError, GarbageRecordError) as error:
                self.observer.warn("heartbeat_failed", reason=str(error))
            else:
                pause_s = self.interval_s

    async def end(self) -> None:
        """Write the last beat: nobody has to wait any longer. Raises StoreError, GarbageRecordError."""
        if self.has_begun and not self.is_taken:
            await self.beat(is_last=True)

    async def _write(self) -> None:
        if not self._is_listed:
            await self.records.change(
                DaprConstants.INSTANCES_KEY,
                InstanceList,
                lambda instances: (instances or InstanceList()).with_fresh(self.instance.id),
            )
            self._is_listed = True
        await self.records.change(instance_key(self.instance.id), Instance, self._over)

    def _over(self, stored: Instance | None) -> Instance:
        """The beat instead of what is stored, which must not be that of another process that beats."""
        if stored is None:
            self._is_listed = not self.has_begun  # forgotten while this process was paused
        elif stored.incarnation != self.instance.incarnation:
            before = self._before
            if before is None or (stored.incarnation, stored.beat) != (before.incarnation, before.beat):
                self.is_taken = True
                raise InstanceIdTakenError(taken(self.instance.id))
        return self.instance

    def _does_stall(self, account: Account) -> bool:
        stalled_s = self.clock.monotonic() - account.taken_at
        is_stalled = stalled_s > self.stall_limit_s
        if is_stalled and not self._is_stalled:
            self.observer.warn("loop_stalled", stalled_s=round(stalled_s, 1), limit_s=self.stall_limit_s)
        elif self._is_stalled and not is_stalled:
            self.observer.log("loop_ticks_again")
        self._is_stalled = is_stalled
        return is_stalled


def taken(instance_id: str) -> str:
    """What to do about two processes with one id."""
    what = f"another process runs under the instance id '{instance_id}'"
    return f"{what}: give each process a WSM_INSTANCE_ID of its own"
