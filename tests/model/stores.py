"""A state store with the manners of several real ones, and the link by which one process reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random

from runtime.errors import RaceLostError, StoreError
from runtime.ports import Stored
from tests.model.processes import Process, time

TIMEOUT_S = 1.0
SLOW_S = 1.2


class Manners(StrEnum):
    """What the stores under Dapr were measured to do (dapr-facts: state stores 1 to 3)."""

    STRICT = "strict: a lost race is told as one"
    REDIS = "redis: a stale etag creates a missing key, etags count from 1 in each life of a key"
    DYNAMODB = "dynamodb: a lost race is an INTERNAL error like any other"
    LATE = "late: times out after having written, or before it writes"


@dataclass(slots=True)
class Write:
    """A write that took effect. `sent_at`: when its process sent it."""

    process: Process
    key: str
    before: bytes | None
    after: bytes | None
    sent_at: float


@dataclass(slots=True)
class Shared:
    """What is stored. `watch` is told of every write at the moment at which it takes effect."""

    manners: Manners
    watch: Callable[[Write], None]
    values: dict[str, Stored] = field(default_factory=dict)
    is_calm: bool = False
    slow_until: float = 0.0
    _last: int = 0

    @property
    def is_slow(self) -> bool:
        """Whether every operation takes long now, so that many are under way together."""
        return time() < self.slow_until

    def put(self, process: Process, key: str, value: bytes, etag: str | None, sent_at: float) -> None:
        stored = self.values.get(key)
        is_redis = self.manners is Manners.REDIS
        if (stored.etag if stored else None) != etag and not (is_redis and stored is None):
            raise self._lost(etag)
        self._last += 1
        number = self._last if not is_redis else int(stored.etag) + 1 if stored else 1
        self.values[key] = Stored(value, str(number))
        self.watch(Write(process, key, stored.value if stored else None, value, sent_at))

    def delete(self, process: Process, key: str, etag: str, sent_at: float) -> None:
        stored = self.values.get(key)
        if stored is None and self.manners is Manners.REDIS:
            return
        if stored is None or stored.etag != etag:
            raise self._lost(etag)
        del self.values[key]
        self.watch(Write(process, key, stored.value, None, sent_at))

    def _lost(self, etag: str | None) -> RaceLostError | StoreError:
        is_vague = self.manners is Manners.DYNAMODB or (self.manners is Manners.REDIS and etag is None)
        return StoreError("INTERNAL") if is_vague else RaceLostError("another writer was first")


@dataclass(slots=True)
class Link:
    """The StateStore port of one process: it may stand still, or be cut off, at every operation, before or after."""

    process: Process
    shared: Shared
    random: Random

    async def get(self, key: str) -> Stored | None:
        await self._reach()
        found = self.shared.values.get(key)
        await self._answer()
        return found

    async def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        await self._reach()
        found = {key: self.shared.values[key] for key in keys if key in self.shared.values}
        await self._answer()
        return found

    async def put(self, key: str, value: bytes, etag: str | None) -> None:
        sent_at = await self._reach()
        shared, process = self.shared, self.process
        if shared.manners is Manners.LATE and not shared.is_calm:
            chance = self.random.random()
            if chance < 0.06:  # still under way when its caller has given up
                delay = self.random.uniform(0, 2)
                asyncio.get_running_loop().call_later(delay, self._land, key, value, etag, sent_at)
            elif chance < 0.2:
                shared.put(process, key, value, etag, sent_at)
            if chance < 0.2:
                await process.sleep(TIMEOUT_S)
                raise StoreError("DEADLINE_EXCEEDED")
        shared.put(process, key, value, etag, sent_at)
        await self._answer()

    async def delete(self, key: str, etag: str) -> None:
        sent_at = await self._reach()
        self.shared.delete(self.process, key, etag, sent_at)
        await self._answer()

    def _land(self, key: str, value: bytes, etag: str | None, sent_at: float) -> None:
        try:
            self.shared.put(self.process, key, value, etag, sent_at)
        except (RaceLostError, StoreError):
            return

    async def _reach(self) -> float:
        await self.process.stand()
        sent_at = time()
        if self.random.random() < 0.5 or self.shared.is_slow:
            await asyncio.sleep(self._delay_s())
        if self.process.is_cut:
            await self._fail()
        return sent_at

    async def _answer(self) -> None:
        """What was done is done; its process may learn of it late, or not at all."""
        if self.random.random() < 0.2:
            await asyncio.sleep(self._delay_s())
        await self.process.stand()
        if self.process.is_cut:
            await self._fail()

    async def _fail(self) -> None:
        await self.process.sleep(TIMEOUT_S)
        raise StoreError("UNAVAILABLE")

    def _delay_s(self) -> float:
        is_slow = self.shared.is_slow or (not self.shared.is_calm and self.random.random() < 0.04)
        return self.random.random() * (SLOW_S if is_slow else 0.004)
