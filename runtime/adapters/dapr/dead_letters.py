"""The DeadLetters port behind a topic: what arrives on the dead-letter topic is kept in the state store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Protocol, TypeVar

import orjson

from runtime.adapters.dapr.deliveries import Delivery
from runtime.errors import InvalidInputError, RaceLostError
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import DEAD_LETTER
from runtime.models.wire import WireModel
from runtime.ports import Clock, Observer, StateStore

INDEX_KEY = "websocket.dead-letters"
LETTER_PREFIX = "websocket.dead-letter."
MAX_LETTERS = 1_000
MAX_BYTES = 64 * 1024 * 1024
PIECE_BYTES = 256 * 1024  # DynamoDB takes 400 KB under one key
CHUNK = 100
NOT_HANDLED = "not handled after all retries"

M = TypeVar("M", bound=WireModel)


class Changes(Protocol):
    """The compare-and-set of `runtime.records`."""

    async def change(self, key: str, model: type[M], decide: Callable[[M | None], M | None]) -> M | None:
        """See `Records.change`."""


class _Entry(WireModel):
    """A letter that is kept: the key of its first piece without the number, and its size."""

    key: str
    size_bytes: int

    def pieces(self) -> list[str]:
        return [f"{self.key}.{number}" for number in range(-(-self.size_bytes // PIECE_BYTES))]


class _Index(WireModel):
    """All letters, the oldest first."""

    letters: tuple[_Entry, ...] = ()


class KeptDeadLetters:
    """At most so many letters and bytes; beyond them the oldest go, with a line in the log.

    A letter is one or more keys, written before the index names it and removed before the index forgets it. The same
    letter delivered again is kept once.
    """

    def __init__(
        self,
        store: StateStore,
        changes: Changes,
        clock: Clock,
        observer: Observer,
        *,
        max_letters: int = MAX_LETTERS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._store, self._changes, self._clock, self._observer = store, changes, clock, observer
        self._max_letters, self._max_bytes = max_letters, max_bytes

    async def receive(self, delivery: Delivery) -> None:
        """Keep what the dead-letter topic brings: a letter of ours, or an event that the sidecar gave up.

        Raises StoreError, GarbageRecordError.
        """
        event = delivery.event
        letter = _letter(event.data) if event.type == DEAD_LETTER else None
        if letter is not None:
            await self._keep(letter, letter.to_json())
        else:
            given_up = event._replace(topic=delivery.published_to)
            identity = repr((event.source, event.id, given_up.topic, event.data)).encode()
            await self._keep(DeadLetter.of(given_up, NOT_HANDLED, self._clock.now()), identity)

    async def read(self) -> list[DeadLetter]:
        return [letter for _, letter in await self._read()]

    async def remove(self, letters: Sequence[DeadLetter]) -> None:
        leaving = Counter(letter.to_json() for letter in letters)
        gone = [entry for entry, letter in await self._read() if leaving[letter.to_json()]]
        if gone:
            await self._delete(gone)
            await self._changes.change(INDEX_KEY, _Index, lambda index: _without(index, gone))

    async def _keep(self, letter: DeadLetter, identity: bytes) -> None:
        document = letter.to_json()
        entry = _Entry(key=LETTER_PREFIX + sha256(identity).hexdigest()[:32], size_bytes=len(document))
        for number, key in enumerate(entry.pieces()):
            if await self._store.get(key) is None:
                await self._store.put(key, document[number * PIECE_BYTES : (number + 1) * PIECE_BYTES], None)
        dropped: list[_Entry] = []

        def add(index: _Index | None) -> _Index | None:
            known = index.letters if index is not None else ()
            if any(each.key == entry.key for each in known):
                return None
            kept, dropped[:] = self._bounded([*known, entry])
            return _Index(letters=tuple(kept))

        await self._changes.change(INDEX_KEY, _Index, add)
        if dropped:
            limits = {"max_letters": self._max_letters, "max_bytes": self._max_bytes}
            self._observer.warn("dead_letters_dropped", count=len(dropped), **limits)
            await self._delete(dropped)

    def _bounded(self, entries: list[_Entry]) -> tuple[list[_Entry], list[_Entry]]:
        """What stays and what goes; the newest always stays."""
        first, size = len(entries) - 1, entries[-1].size_bytes
        while first > 0 and len(entries) - first < self._max_letters:
            size += entries[first - 1].size_bytes
            if size > self._max_bytes:
                break
            first -= 1
        return entries[first:], entries[:first]

    async def _read(self) -> list[tuple[_Entry, DeadLetter]]:
        """Those that are there; one that is half written or half removed is passed over."""
        index: _Index = await self._changes.change(INDEX_KEY, _Index, lambda _: None) or _Index()
        keys = [key for entry in index.letters for key in entry.pieces()]
        pieces: dict[str, bytes] = {}
        for start in range(0, len(keys), CHUNK):
            found = await self._store.get_many(keys[start : start + CHUNK])
            pieces.update((key, stored.value) for key, stored in found.items())
        letters = [
            (entry, _letter(b"".join(pieces.get(key, b"") for key in entry.pieces()))) for entry in index.letters
        ]
        return [(entry, letter) for entry, letter in letters if letter is not None]

    async def _delete(self, entries: Iterable[_Entry]) -> None:
        for entry in entries:
            for key in entry.pieces():
                stored = await self._store.get(key)
                if stored is None:
                    continue
                try:
                    await self._store.delete(key, stored.etag)
                except RaceLostError:  # somebody else removes it too
                    continue


def _without(index: _Index | None, gone: Sequence[_Entry]) -> _Index | None:
    if index is None:
        return None
    keys = {entry.key for entry in gone}
    return _Index(letters=tuple(entry for entry in index.letters if entry.key not in keys))


def _letter(document: bytes) -> DeadLetter | None:
    try:
        letter: DeadLetter = DeadLetter.read(orjson.loads(document))
    except (orjson.JSONDecodeError, InvalidInputError):
        return None
    return letter
