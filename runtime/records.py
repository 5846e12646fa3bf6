"""The one compare-and-set for every key, and the records, outboxes and index that go through it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import orjson

from runtime.errors import GarbageRecordError, InvalidInputError, PermanentError, RaceLostError, StoreError
from runtime.models.connection import DaprStateStoreEntry, WebSocketConnection
from runtime.models.constants import DaprConstants, can_be_key, connection_key, index_key, index_keys, outbox_key
from runtime.models.index import IndexChange, Layout, change_index, read_index
from runtime.models.outbox import Outbox
from runtime.models.wire import WireModel
from runtime.ports import Clock, Random, StateStore

M = TypeVar("M", bound=WireModel)
MAX_TRIES = 12
MAX_ETAG_AGE_S = 30.0  # Redis counts the etags of a key from 1 again when it was deleted
CHUNK = 100
READ_AT_ONCE = 5
SHARDS_AT_ONCE = 16


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
    _is_layout_known: bool = False
    _index_changes: dict[str, dict[IndexChange, None]] = field(default_factory=dict)

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
            for number, id_ in enumerate(chunk, 1):
                if number % READ_AT_ONCE == 0:  # each takes some 0.2 ms, and frames are not to wait for a hundred
                    await self.clock.sleep(0)
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
            for _ in range(MAX_TRIES):
                asked_at = self.clock.monotonic()
                stored = await self.store.get(key)
                if stored is None or not agreed(_read_record(connection_id, stored.value)):
                    return False
                outbox = await self.store.get(outbox_key(connection_id))
                if self._is_old(asked_at):
                    continue
                try:
                    if outbox is not None:
                        await self.store.delete(outbox_key(connection_id), outbox.etag)
                    if self._is_old(asked_at):
                        continue
                    await self.store.delete(key, stored.etag)
                except RaceLostError:
                    return False
                return True
        return False

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

    async def keep_layout(self) -> None:
        """Find out that the store is laid out as is set here, or lay it out so. Raises PermanentError, StoreError."""
        if self._is_layout_known:
            return
        key = DaprConstants.LAYOUT_KEY
        is_older = await self.store.get(DaprConstants.INDEX_KEY) is not None  # than the key of the layout
        first = Layout(index_shards=1 if is_older else self.index_shards)
        stored = await self._change(key, Layout, lambda found: first if found is None else None)
        if stored is not None and stored.index_shards != self.index_shards:
            raise PermanentError(
                f"this state store was first used with index_shards {stored.index_shards}, and this process is set to"
                f" {self.index_shards}: set index_shards to {stored.index_shards}, or use an empty store"
            )
        self._is_layout_known = True

    async def _know_layout(self) -> None:
        try:
            await self.keep_layout()
        except PermanentError as error:  # this process is about to end: another one may do it
            raise StoreError(str(error)) from None

    async def ids(self) -> list[str]:
        """Every id of the index."""
        await self._know_layout()
        keys = index_keys(self.index_shards)
        found = await self.store.get_many(keys)
        listed = (id_ for key in keys if key in found for id_ in read_index(key, found[key].value))
        return [id_ for id_ in listed if can_be_key(id_)]

    async def each_shard(self) -> AsyncIterator[list[str] | GarbageRecordError]:
        """The ids of the index, shard after shard; one that cannot be read comes as its error, in nobody's way."""
        await self._know_layout()
        keys = index_keys(self.index_shards)
        for start in range(0, len(keys), SHARDS_AT_ONCE):
            chunk = keys[start : start + SHARDS_AT_ONCE]
            found = await self.store.get_many(chunk)
            for key in chunk:
                if key in found:
                    try:
                        yield read_index(key, found.pop(key).value)
                    except GarbageRecordError as error:
                        yield error

    async def add_to_index(self, connection_id: str) -> None:
        """Make sure that the index holds an id."""
        await self._change_index(IndexChange(connection_id, is_in=True))

    async def remove_from_index(self, connection_id: str) -> None:
        """Take an id out of the index; put it back if a record has appeared meanwhile."""
        await self._change_index(IndexChange(connection_id, is_in=False))
        await self.restore_to_index(connection_id)

    async def restore_to_index(self, connection_id: str) -> None:
        """Put an id back that has a record, and that the index has lost."""
        if await self.store.get(connection_key(connection_id)) is not None:
            await self.add_to_index(connection_id)

    async def _change_index(self, change: IndexChange) -> None:
        """Apply a change, with all others of this process that wait for the same key: the index is a hot spot."""
        await self._know_layout()
        key = index_key(change.connection_id, self.index_shards)
        waiting = self._index_changes.setdefault(key, {})
        waiting[change] = None
        taken: list[IndexChange] = []

        def on_bytes(value: bytes | None) -> bytes | None:
            taken[:] = waiting
            return change_index(key, value, taken)

        try:
            async with self._locks.hold(key):
                if change in waiting:  # else another one has taken it along
                    await self._swap_held(key, on_bytes)
                    for each in taken:
                        waiting.pop(each, None)
        finally:
            waiting.pop(change, None)

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
        """Read, decide, write; after any error read again and decide again. Returns what is stored then.

        `decide` may be asked again about what it has decided itself: see `StateStore`.
        """
        async with self._locks.hold(key):
            return await self._swap_held(key, decide)

    async def _swap_held(self, key: str, decide: Callable[[bytes | None], bytes | None]) -> bytes | None:
        last: RaceLostError | StoreError | None = None
        for attempt in range(MAX_TRIES):
            asked_at = self.clock.monotonic()
            stored = await self.store.get(key)
            value = decide(stored.value if stored else None)
            if value is None or (stored is not None and value == stored.value):
                return stored.value if stored else None
            if self._is_old(asked_at):
                continue
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

    def _is_old(self, asked_at: float) -> bool:
        """Whether an etag that was read then may belong to another life of its key by now."""
        return self.clock.monotonic() - asked_at > MAX_ETAG_AGE_S


def _read_record(connection_id: str, value: bytes) -> WebSocketConnection:
    """The record under a connection's key, which must carry its id: whoever holds it finds it by that."""
    key = connection_key(connection_id)
    record: WebSocketConnection = decode(DaprStateStoreEntry, key, value).to_connection()
    if record.id != connection_id:
        raise GarbageRecordError(f"the value under {key} cannot be read: it carries another id")
    return record
