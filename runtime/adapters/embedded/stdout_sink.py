"""One CloudEvent a line on standard output, written by a thread: a reader that is stuck never holds the event loop."""

from __future__ import annotations

import asyncio
import errno
import os
import select
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue

from runtime.errors import PermanentError, PublishError
from runtime.models.events import Event

# No reader comes back to a pipe, socket or descriptor that was closed.
_GONE = frozenset({errno.EPIPE, errno.ECONNRESET, errno.EBADF})


@dataclass(frozen=True, slots=True)
class _Written:
    """How many lines were written whole, and what kept the others back."""

    lines: int
    failure: OSError | None


class StdoutSink:
    """Writes whole lines in the order of the calls; what was handed over is written, even if the call is cancelled.

    A reader that goes away, as `head` does, is final: PermanentError, which ends the process in order. Any other
    failure, such as a full disk, may pass; a line that it cut in two is completed before another begins.
    """

    lanes = 1

    def __init__(self, fd: int = 1) -> None:
        if fd == 1 and sys.__stdout__ is None:  # then the next file that is opened gets the number 1
            raise PermanentError("standard output is closed: send it somewhere, or choose another --sink")
        self._fd = fd
        self._cut = b""  # the rest of a line that a failure cut in two
        self._jobs: SimpleQueue[tuple[Sequence[bytes], Future[_Written]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="stdout", daemon=True)
        self._thread.start()

    async def write(self, events: Sequence[Event], documents: Sequence[bytes]) -> None:
        done: Future[_Written] = Future()
        self._jobs.put((documents, done))
        written = await asyncio.shield(asyncio.wrap_future(done))
        failure = written.failure
        if failure is None:
            return
        if failure.errno in _GONE:
            raise PermanentError("standard output was closed by its reader, so nothing can be published any more")
        reason = f"standard output cannot be written: {failure.strerror}"
        raise PublishError(reason, published=written.lines) from failure

    async def close(self) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, 0.5)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            documents, done = job
            done.set_result(self._write_lines(documents))

    def _write_lines(self, documents: Sequence[bytes]) -> _Written:
        count, failure = _write(self._fd, self._cut)
        self._cut = self._cut[count:]
        if failure is not None:
            return _Written(0, failure)
        lines = 0
        for chunk in _chunks(documents):
            count, failure = _write(self._fd, chunk)
            lines += chunk.count(b"\n", 0, count)
            if failure is not None:
                if count and not chunk.endswith(b"\n", 0, count):
                    self._cut = chunk[count : chunk.index(b"\n", count) + 1]
                return _Written(lines, failure)
        return _Written(lines, None)


def _chunks(documents: Sequence[bytes]) -> Iterator[bytes]:
    """Whole lines, as many as a pipe takes all or none of: a process that ends with its reader stuck tears none."""
    chunk = bytearray()
    for document in documents:
        if chunk and len(chunk) + len(document) + 1 > select.PIPE_BUF:
            yield bytes(chunk)
            chunk.clear()
        chunk += document
        chunk += b"\n"
    if chunk:
        yield bytes(chunk)


def _write(fd: int, data: bytes) -> tuple[int, OSError | None]:
    """Write all. Returns how many bytes were written, and what stopped it before the end."""
    view = memoryview(data)
    try:
        while view:
            try:
                view = view[os.write(fd, view) :]
            except BlockingIOError:  # who shares the pipe has made it non-blocking
                _wait_for_room(fd)
    except OSError as error:
        return len(data) - len(view), error
    return len(data), None


def _wait_for_room(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll()
