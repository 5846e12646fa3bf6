"""Dead letters in a file that only its owner may read: one JSON document a line, whole enough to be replayed."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import orjson

from runtime.errors import InvalidInputError, StoreError
from runtime.models.dead_letter import DeadLetter


class DeadLetterFile:
    """The DeadLetters port on a file. What cannot be read as a letter, such as a torn line, is left where it is."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()  # held by the thread that works, so that a cancelled caller breaks nothing

    async def add(self, document: bytes) -> None:
        """Append the JSON of one letter, whole or not at all. Raises StoreError."""
        await asyncio.to_thread(self._append, document)

    async def read(self) -> list[DeadLetter]:
        return await asyncio.to_thread(self._read)

    async def remove(self, letters: Sequence[DeadLetter]) -> None:
        await asyncio.to_thread(self._remove, letters)

    def _append(self, document: bytes) -> None:
        try:
            with self._lock, open(self._path, "a+b", 0, opener=_for_owner_only) as file:
                size = file.tell()
                line = document + b"\n"
                if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                    line = b"\n" + line  # the last line is torn
                try:
                    _write(file.fileno(), line)
                except OSError:
                    with suppress(OSError):
                        file.truncate(size)
                    raise
        except OSError as error:
            raise StoreError(f"a dead letter could not be kept: {error.strerror}") from error

    def _read(self) -> list[DeadLetter]:
        with self._lock:
            return [letter for _, letter in self._lines() if letter is not None]

    def _remove(self, letters: Sequence[DeadLetter]) -> None:
        leaving = Counter(letter.to_json() for letter in letters)
        new = self._path.with_suffix(".new")
        with self._lock:
            kept = []
            for line, letter in self._lines():
                identity = letter.to_json() if letter is not None else b""
                if leaving[identity]:
                    leaving[identity] -= 1
                else:
                    kept.append(line + b"\n")
            try:
                with open(new, "wb", 0, opener=_for_owner_only) as file:
                    _write(file.fileno(), b"".join(kept))
                    os.fsync(file.fileno())
                new.replace(self._path)
            except OSError as error:
                raise StoreError(f"the dead letters could not be rewritten: {error.strerror}") from error

    def _lines(self) -> Iterator[tuple[bytes, DeadLetter | None]]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"the dead letters cannot be read: {error.strerror}") from error
        for line in content.split(b"\n"):
            if line:
                yield line, _letter(line)


def _letter(line: bytes) -> DeadLetter | None:
    try:
        letter: DeadLetter = DeadLetter.read(orjson.loads(line))
    except (orjson.JSONDecodeError, InvalidInputError):
        return None
    return letter


def _for_owner_only(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _write(file: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
