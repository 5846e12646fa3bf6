"""The course of one pass: which records it looks at, in which order and at which pace."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass, field

from runtime.errors import GarbageRecordError
from runtime.models.constants import can_be_key
from runtime.placement import place_of
from runtime.ports import Clock
from runtime.records import CHUNK, Records


@dataclass(slots=True)
class Course:
    """A pass of one host: over all, first what is due to it; or over its part, its neighbour's, and what it holds.

    `rate`: records a second; None where only others of this process have to get their turn. After `batches` has ended
    `size` tells how many ids there are, `unlisted` what is held and in no index, `garbage` that not all could be read,
    and `impossible` what can have no record.
    """

    records: Records
    clock: Clock
    instance_id: str
    living: Collection[str]
    held: Collection[str]
    is_full: bool
    rate: float | None
    size: int = 0
    unlisted: set[str] = field(init=False)
    garbage: GarbageRecordError | None = None
    impossible: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.unlisted = set(self.held)

    async def batches(self) -> AsyncIterator[list[str]]:
        """Ids, in lists short enough for one read. Raises StoreError."""
        started, done = self.clock.monotonic(), 0
        for is_wanted in self._rounds():
            async for batch in self._round(is_wanted):
                if done:
                    ahead_s = 0.0 if self.rate is None else started + done / self.rate - self.clock.monotonic()
                    await self.clock.sleep(max(0.0, ahead_s))
                done += len(batch)
                yield batch

    def place(self, connection_id: str) -> int:
        """This host's place for a connection."""
        return place_of(self.instance_id, connection_id, self.living)

    def _rounds(self) -> list[Callable[[str], bool]]:
        if not self.is_full:
            return [lambda id_: self.place(id_) <= 1 or id_ in self.held]
        if not self.living:
            return [lambda _: True]
        return [lambda id_: self.place(id_) == 0, lambda id_: self.place(id_) != 0]

    async def _round(self, is_wanted: Callable[[str], bool]) -> AsyncIterator[list[str]]:
        batch: list[str] = []
        self.size, self.garbage = 0, None
        async for shard in self.records.each_shard():
            if isinstance(shard, GarbageRecordError):
                self.garbage = shard
                continue
            self.size += len(shard)
            self.unlisted.difference_update(shard)
            for connection_id in shard:
                if not can_be_key(connection_id):
                    self.impossible.add(connection_id)
                elif is_wanted(connection_id):
                    batch.append(connection_id)
                if len(batch) == CHUNK:
                    yield batch
                    batch = []
        if batch:
            yield batch
