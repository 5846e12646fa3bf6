"""The one compare-and-set for every key, and the records, outboxes and index that go through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import orjson

from runtime.errors import GarbageRecordError, InvalidInputError, RaceLostError, StoreError
from runtime.models.connection import DaprStateStoreEntry, WebSocketConnection
from runtime.models.constants import connection_key, index_key, index_keys, outbox_key
from runtime.models.outbox import Outbox
from runtime.models.wire import WireModel
from runtime.ports import Clock, Random, StateStore

M = TypeVar("M", bound=WireModel)
MAX_TRIES = 12
CHUNK = 100


def decode(model: type[M], key: str, value: bytes) -> M:
    """Read a stored value. Raises GarbageRecordError, which names the key and the fault."""
    try:
        found: M = model.read(orjson.loads(value))
    except (orjson.JSONDecodeError, InvalidInputError) as error:
        raise GarbageRecordError(f"the value under {key} cannot be read: {error}") from None
    return found


def _encode(key: str, model: WireModel) -> bytes:
    """Write a value. Raises GarbageRecordError: what was read may hold numbers or levels that cannot be written."""
    try:
        return model.to_json()
    except orjson.JSONEncodeError as error:
        raise GarbageRecordError(f"the value for {key} cannot be written: {error}") from None


@dataclass(slots=True)
class _KeyLocks:
    """One lock for each key in use: writers of one process queue up instead of losing races to each other."""

    locks: dict[str, tuple[asyncio.Lock, int]] = field(default_factory=dict)

    @asynccontextmanager
    async def hold(self, key: str) -> AsyncIterator[None]:
        lock, users = self.locks.get(key, (asyncio.Lock(), 0))
        self.locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self.locks[key]
            if users == 1:
                del self.locks[key]
            else:
                self.locks[key] = (lock, users - 1)


@dataclass(slots=True)
class Records:
    """Connections, outboxes and the index in a state store."""

    store: StateStore
    clock: Clock
    random: Random
    index_shards: int = 1
    _locks: _KeyLocks = field(default_factory=_KeyLocks)

    async def get(self, connection_id: str) -> WebSocketConnection | None:
        """One record. Raises GarbageRecordError, StoreError."""
        stored = await self.store.get(connection_key(connection_id))
        return _read_record(connection_id, stored.value) if stored else None

    async def get_many(
        self, connection_ids: Iterable[str]
    ) -> AsyncIterator[tuple[str, WebSocketConnection | GarbageRecordError | None]]:
        """Records in chunks; what cannot be read comes as its error, in nobody's way."""
        ids = list(connection_ids)
        for start in range(0, len(ids), CHUNK):
            chunk = ids[start : start + CHUNK]
            found = await self.store.get_many([connection_key(id_) for id_ in chunk])
            for id_ in chunk:
                stored = found.get(connection_key(id_))
                if stored is None:
                    yield id_, None
                    continue
                try:
                    yield id_, _read_record(id_, stored.value)
                except GarbageRecordError as error:
                    yield id_, error

    async def update(
        self,
        connection_id: str,
        decide: Callable[[WebSocketConnection | None], WebSocketConnection | None],
    ) -> WebSocketConnection | None:
        """Apply `decide` to the record by compare-and-set and return what is stored then.

        `decide` returns the new record, or None for no change; it is called again with what is stored now whenever
        the write was lost or its end is unknown, so it must be pure. Whatever it raises passes through.
        """

        def on_bytes(value: bytes | None) -> bytes | None:
            changed = decide(_read_record(connection_id, value) if value is not None else None)
            return _encode(key, DaprStateStoreEntry.from_connection(changed)) if changed is not None else None

        key = connection_key(connection_id)
        value = await self._swap(key, on_bytes)
        return _read_record(connection_id, value) if value is not None else None

    async def delete(self, connection_id: str, agreed: Callable[[WebSocketConnection], bool]) -> bool:
        """Delete record and outbox if `agreed` holds for what is stored now; False too if others write to them."""
        key = connection_key(connection_id)
        async with self._locks.hold(key):
            stored = await self.store.get(key)
            if stored is None or not agreed(_read_record(connection_id, stored.value)):
                return False
            outbox = await self.store.get(outbox_key(connection_id))
            try:
                if outbox is not None:
                    await self.store.delete(outbox_key(connection_id), outbox.etag)
                await self.store.delete(key, stored.etag)
            except RaceLostError:
                return False
            return True

    async def outbox(self, connection_id: str) -> Outbox:
        """The outbox of a connection; empty when there is none."""
        key = outbox_key(connection_id)
        stored = await self.store.get(key)
        return decode(Outbox, key, stored.value) if stored else Outbox()

    async def update_outbox(self, connection_id: str, decide: Callable[[Outbox], Outbox | None]) -> Outbox:
        """As `update`, for the outbox."""
        key = outbox_key(connection_id)
        changed = await self._change(key, Outbox, lambda found: decide(found or Outbox()))
        return changed or Outbox()

    async def ids(self) -> list[str]:
        """Every id of the index."""
        keys = index_keys(self.index_shards)
        found = await self.store.get_many(keys)
        return [id_ for key in keys if key in found for id_ in _read_index(key, found[key].value)]

    async def add_to_index(self, connection_id: str) -> None:
        """Make sure that the index holds an id."""
        await self._change_index(connection_id, lambda ids: None if connection_id in ids else [*ids, connection_id])

    async def remove_from_index(self, connection_id: str) -> None:
        """Take an id out of the index; put it back if a record has appeared meanwhile."""
        await self._change_index(
            connection_id,
            lambda ids: [id_ for id_ in ids if id_ != connection_id] if connection_id in ids else None,
        )
        if await self.store.get(connection_key(connection_id)) is not None:
            await self.add_to_index(connection_id)

    async def _change_index(self, connection_id: str, decide: Callable[[list[str]], list[str] | None]) -> None:
        key = index_key(connection_id, self.index_shards)

        def on_bytes(value: bytes | None) -> bytes | None:
            ids = decide(_read_index(key, value) if value else [])
            return None if ids is None else orjson.dumps(ids)

        await self._swap(key, on_bytes)

    async def change(self, key: str, model: type[M], decide: Callable[[M | None], M | None]) -> M | None:
        """As `update`, for any other key and its model."""
        return await self._change(key, model, decide)

    async def _change(self, key: str, model: type[M], decide: Callable[[M | None], M | None]) -> M | None:
        def on_bytes(value: bytes | None) -> bytes | None:
            changed = decide(decode(model, key, value) if value is not None else None)
            return _encode(key, changed) if changed is not None else None

        value = await self._swap(key, on_bytes)
        return decode(model, key, value) if value is not None else None

    async def _swap(self, key: str, decide: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Read, decide, write; after any error read again and decide again. Returns what is stored then."""
        last: RaceLostError | StoreError | None = None
        async with self._locks.hold(key):
            for attempt in range(MAX_TRIES):
                stored = await self.store.get(key)
                value = decide(stored.value if stored else None)
                if value is None or (stored is not None and value == stored.value):
                    return stored.value if stored else None
                try:
                    await self.store.put(key, value, stored.etag if stored else None)
                except (RaceLostError, StoreError) as error:  # lost, or unknown: look again either way
                    last = error
                    await self.clock.sleep(self.random() * 0.005 * 2 ** min(attempt, 6))
                else:
                    return value
        if isinstance(last, StoreError):
            raise last
        raise StoreError(f"{key} was changed by others {MAX_TRIES} times in a row; try again")


def _read_record(connection_id: str, value: bytes) -> WebSocketConnection:
    """The record under a connection's key, which must carry its id: whoever holds it finds it by that."""
    key = connection_key(connection_id)
    record: WebSocketConnection = decode(DaprStateStoreEntry, key, value).to_connection()
    if record.id != connection_id:
        raise GarbageRecordError(f"the value under {key} cannot be read: it carries another id")
    return record


def _read_index(key: str, value: bytes) -> list[str]:
    try:
        ids = orjson.loads(value)
    except orjson.JSONDecodeError:
        ids = None
    if not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
        raise GarbageRecordError(f"the value under {key} is not a list of ids")
    return ids
