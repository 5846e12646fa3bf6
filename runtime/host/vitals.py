"""The vitals of a host's connections, written at a slow beat, for reads by a process that holds no sockets.

A sidecar cannot address one replica of an app, so nobody can ask the host that owns a connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeAlias

import orjson

from runtime.errors import GarbageRecordError, StoreError
from runtime.host.host import Host
from runtime.models.connection import WebSocketConnection
from runtime.models.constants import DaprConstants, vitals_key
from runtime.models.instance import InstanceList
from runtime.models.vitals import Row, VitalsPage, Waiting
from runtime.ports import Clock, Stored, Vitals
from runtime.records import Records, decode

PAGE_BYTES = 256 * 1024
KEPT_S = 3.0
SHOWN_S = 1.0
WHY_LENGTH = 200
VitalsOf: TypeAlias = Callable[[WebSocketConnection], Vitals | None]
Notes: TypeAlias = Callable[[], Awaitable[Mapping[str, object]]]
Look: TypeAlias = Callable[[], Awaitable[VitalsOf]]


def live(host: Host) -> Look:
    """The vitals of this very process."""

    async def look() -> VitalsOf:
        return lambda record: host.vitals(record.id)

    return look


@dataclass(slots=True)
class VitalsWriter:
    """Writes the vitals of a host, where they have changed."""

    host: Host
    records: Records
    clock: Clock
    interval_s: float
    notes: Notes | None = None
    _written: tuple[Mapping[str, Row], Mapping[str, object], Mapping[str, Waiting]] = ({}, {}, {})

    async def run(self) -> None:
        """Write until cancelled. What cannot be written now is old at the next beat anyway."""
        while True:
            try:
                await self.write()
            except (StoreError, GarbageRecordError) as error:
                self.host.tools.observer.log("vitals_not_written", reason=str(error))
            await self.clock.sleep(self.interval_s)

    async def write(self) -> None:
        """Write once. Raises StoreError."""
        rows = {id_: _row(keeper.record.epoch, keeper.life.vitals()) for id_, keeper in self.host.keepers.items()}
        notes = await self.notes() if self.notes is not None else {}
        waits = dict(self._waits())
        if (rows, notes, waits) == self._written:
            return
        pages = list(_pages(rows))
        for number, page in reversed(list(enumerate(pages))):  # the first says how many there are
            waiting = {id_: waits[id_] for id_ in page if id_ in waits}
            await self._put(number, VitalsPage(pages=len(pages), notes=notes, rows=page, waits=waiting))
        self._written = rows, notes, waits

    def _waits(self) -> Iterator[tuple[str, Waiting]]:
        """Of dials that still wait when the next page is written."""
        now = self.clock.now()
        for id_, keeper in self.host.keepers.items():
            wait = keeper.life.waiting
            if wait is not None and (wait.until - now).total_seconds() >= SHOWN_S:
                yield id_, (int(wait.until.timestamp() * 1000), wait.why[:WHY_LENGTH])

    async def _put(self, number: int, page: VitalsPage) -> None:
        await self.records.change(vitals_key(self.host.instance_id, number), VitalsPage, lambda _: page)


@dataclass(slots=True)
class StoredVitals:
    """Reads what all hosts have written, and keeps it for some seconds."""

    records: Records
    clock: Clock
    _found: dict[str, Mapping[str, Row]] = field(default_factory=dict)
    _waits: dict[str, Mapping[str, Waiting]] = field(default_factory=dict)
    _read_at: float | None = None

    async def look(self) -> VitalsOf:
        """What is known now. Raises StoreError."""
        now = self.clock.monotonic()
        if self._read_at is None or now - self._read_at >= KEPT_S:
            (self._found, self._waits), self._read_at = await self._read(), now
        return self._of

    def _of(self, record: WebSocketConnection) -> Vitals | None:
        owner = record.instance_id or ""
        row, wait = self._found.get(owner, {}).get(record.id), self._waits.get(owner, {}).get(record.id)
        return _vitals(row, wait) if row is not None and row[0] == record.epoch else None

    async def _read(self) -> tuple[dict[str, Mapping[str, Row]], dict[str, Mapping[str, Waiting]]]:
        store, key = self.records.store, DaprConstants.INSTANCES_KEY
        stored = await store.get(key)
        ids = decode(InstanceList, key, stored.value).ids if stored else ()
        first = _decoded(await store.get_many([vitals_key(id_) for id_ in ids]))
        more = [
            vitals_key(id_, number)
            for id_ in ids
            if vitals_key(id_) in first
            for number in range(1, first[vitals_key(id_)].pages)
        ]
        rest = _decoded(await store.get_many(more)) if more else {}
        found: dict[str, Mapping[str, Row]] = {}
        waits: dict[str, Mapping[str, Waiting]] = {}
        for id_ in ids:
            head = first.get(vitals_key(id_), VitalsPage())
            pages = [head, *(rest.get(vitals_key(id_, number), VitalsPage()) for number in range(1, head.pages))]
            found[id_] = {connection_id: row for page in pages for connection_id, row in page.rows.items()}
            waits[id_] = {connection_id: wait for page in pages for connection_id, wait in page.waits.items()}
        return found, waits


def _decoded(found: Mapping[str, Stored]) -> dict[str, VitalsPage]:
    """Pages by key; what cannot be read is left out, since they only inform."""
    pages = {}
    for key, stored in found.items():
        try:
            pages[key] = decode(VitalsPage, key, stored.value)
        except GarbageRecordError:
            continue
    return pages


def _pages(rows: Mapping[str, Row]) -> Iterator[dict[str, Row]]:
    """Deal rows to pages of a bounded size; at least one page."""
    page: dict[str, Row] = {}
    size = 0
    for id_, row in rows.items():
        length = len(orjson.dumps({id_: row}))
        if page and size + length > PAGE_BYTES:
            yield page
            page, size = {}, 0
        page[id_] = row
        size += length
    yield page


def _row(epoch: int, vitals: Vitals) -> Row:
    last = vitals.last_frame_at
    at_ms = None if last is None else int(last.timestamp() * 1000)
    row = (epoch, at_ms, vitals.sequence, vitals.unpublished, vitals.queued_messages, vitals.queued_bytes)
    return (*row, vitals.filtered) if vitals.filtered else row


def _vitals(row: Row, wait: Waiting | None) -> Vitals:
    _epoch, at_ms, sequence, unpublished, messages, size_bytes, *filtered = row
    until_ms, why = wait if wait is not None else (None, None)
    return Vitals(_moment(at_ms), sequence, unpublished, messages, size_bytes, _moment(until_ms), why, sum(filtered))


def _moment(at_ms: int | None) -> datetime | None:
    return None if at_ms is None else datetime.fromtimestamp(at_ms / 1000, UTC)
