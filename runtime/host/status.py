"""Coalesced writes of the actual half: the newest wins, one in flight for a connection, a budget for the process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from runtime.errors import GarbageRecordError, OwnershipLostError, StoreError
from runtime.models.connection import WebSocketConnection
from runtime.ports import Clock, Observer
from runtime.records import Records

Write = Callable[[WebSocketConnection | None], WebSocketConnection | None]
RETRY_S = 1.0


@dataclass(slots=True)
class StatusWriter:
    """A storm of status changes becomes at most `in_flight` writes at a time."""

    records: Records
    clock: Clock
    observer: Observer
    in_flight: int
    on_lost: Callable[[str], None]
    _pending: dict[str, Write] = field(default_factory=dict)
    _busy: set[str] = field(default_factory=set)
    _signal: asyncio.Event = field(default_factory=asyncio.Event)

    def put(self, connection_id: str, write: Write) -> None:
        """Write soon, instead of whatever was still to be written for this connection."""
        self._pending[connection_id] = write
        self._signal.set()

    def forget(self, connection_id: str) -> None:
        """Do not write what was still to be written."""
        self._pending.pop(connection_id, None)

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self.in_flight):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            connection_id = next((id_ for id_ in self._pending if id_ not in self._busy), None)
            if connection_id is None:
                self._signal.clear()
                await self._signal.wait()
                continue
            write = self._pending.pop(connection_id)
            self._busy.add(connection_id)
            try:
                await self._write(connection_id, write)
            finally:
                self._busy.discard(connection_id)
                if self._pending:
                    self._signal.set()

    async def _write(self, connection_id: str, write: Write) -> None:
        try:
            await self.records.update(connection_id, write)
        except OwnershipLostError:
            self.on_lost(connection_id)
        except GarbageRecordError as error:
            self.observer.warn("record_quarantined", id=connection_id, reason=str(error))
        except StoreError as error:
            self.observer.warn("status_write_failed", id=connection_id, reason=str(error))
            self._pending.setdefault(connection_id, write)
            await self.clock.sleep(RETRY_S)
