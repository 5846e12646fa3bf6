"""A store in which hosts beat by hand, and one that watches them."""

from __future__ import annotations

import json
from typing import Any

from runtime.adapters.memory.store import MemoryStore
from runtime.errors import StoreError
from runtime.host.watch import Watch
from runtime.records import Records
from tests.virtual_time import FakeClock

LEASE_S = 15.0
BEAT_S = 5.0
READ_UNTIL = "2026-01-31T12:00:00Z"


class Leases:
    def __init__(self) -> None:
        self.store, self.clock = MemoryStore(), FakeClock()
        self.records = Records(self.store, self.clock, lambda: 0.5)
        self.watch = Watch(self.records, self.clock, LEASE_S, "me")
        self.beats: dict[str, int] = {}

    async def beat(self, id_: str, incarnation: str = "1", *, is_listed: bool = True, **fields: Any) -> None:
        self.beats[id_] = self.beats.get(id_, 0) + 1
        lease = {
            "id": id_,
            "incarnation": incarnation,
            "beat": self.beats[id_],
            "startedAt": "1999-01-01T00:00:00Z",
            "readUntil": READ_UNTIL,
            **fields,
        }
        await self.write(f"websocket.instance.{id_}", lease)
        if is_listed:
            await self.list(*self.beats)

    async def list(self, *ids: str, draining: tuple[str, ...] = ()) -> None:
        await self.write("websocket.instances", {"ids": list(ids), "draining": list(draining)})

    async def write(self, key: str, value: object) -> None:
        stored = await self.store.get(key)
        await self.store.put(key, json.dumps(value).encode(), stored.etag if stored else None)

    async def look(self, seconds: float = 0, *beating: str) -> set[str]:
        """Look now, and at every heartbeat for so long, at each of which some beat; all that died meanwhile."""
        died = await self.watch.look()
        for _ in range(int(seconds / BEAT_S)):
            await self.clock.sleep(BEAT_S)
            for id_ in beating:
                await self.beat(id_)
            died |= await self.watch.look()
        return died

    def away(self) -> None:
        async def away(operation: str, key: str) -> None:
            raise StoreError("away")

        self.store.before = away

    def back(self) -> None:
        self.store.before = None
