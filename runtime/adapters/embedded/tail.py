"""A look at events as they pass: bounded for each reader, who is told what it lost; it never slows the rest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_LINES = 1000
MAX_BYTES = 4 * 1024 * 1024


class TailReader:
    """One reader of some topics; no topics means all."""

    def __init__(self, topics: frozenset[str], notice: Callable[[int], bytes]) -> None:
        self._topics, self._notice = topics, notice
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._lost = 0
        self._ready = asyncio.Event()
        self._closed = False

    def offer(self, topic: str, document: bytes) -> None:
        """Take a document, or count it as lost. One that is too large by itself is taken when nothing else waits."""
        if self._topics and topic not in self._topics:
            return
        if self._lines and (len(self._lines) >= MAX_LINES or self._bytes + len(document) > MAX_BYTES):
            self._lost += 1
            return
        if self._lost:
            self._append(self._notice(self._lost))
            self._lost = 0
        self._append(document)

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._ready.set()

    def _append(self, document: bytes) -> None:
        self._lines.append(document)
        self._bytes += len(document)
        self._ready.set()

    async def next(self, patience_s: float) -> bytes | None:
        """The next document, or the notice that some were lost; b"" when none came in time, None after the last."""
        if not self._lines and not self._lost and not self._closed:
            self._ready.clear()
            try:
                async with asyncio.timeout(patience_s):
                    await self._ready.wait()
            except TimeoutError:
                return b""
        if self._lines:
            document = self._lines.popleft()
            self._bytes -= len(document)
            return document
        if self._lost:
            lost, self._lost = self._lost, 0
            return self._notice(lost)
        return None


class Tail:
    """All readers."""

    def __init__(self, notice: Callable[[int], bytes]) -> None:
        self._notice = notice
        self._readers: set[TailReader] = set()
        self._closed = False

    @property
    def has_readers(self) -> bool:
        """Whether anybody looks."""
        return bool(self._readers)

    def offer(self, topic: str, document: bytes) -> None:
        """Show a document to all who look."""
        for reader in self._readers:
            reader.offer(topic, document)

    def close(self) -> None:
        """Let every reader end after what it has."""
        self._closed = True
        for reader in self._readers:
            reader.close()

    @contextmanager
    def subscribe(self, topics: frozenset[str]) -> Iterator[TailReader]:
        """Look from now on."""
        reader = TailReader(topics, self._notice)
        if self._closed:
            reader.close()
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)
