"""One CloudEvent a line on standard output, written by a thread: a reader that is stuck never holds the event loop."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from queue import SimpleQueue

from runtime.errors import PublishError
from runtime.models.events import Event


class StdoutSink:
    """Writes whole lines in the order of the calls; what was handed over is written once, even if cancelled."""

    lanes = 1

    def __init__(self, fd: int = 1) -> None:
        self._fd = fd
        self._jobs: SimpleQueue[tuple[bytes, Future[None]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="stdout", daemon=True)
        self._thread.start()

    async def write(self, events: Sequence[Event], documents: Sequence[bytes]) -> None:
        done: Future[None] = Future()
        self._jobs.put((b"\n".join(documents) + b"\n", done))
        try:
            await asyncio.shield(asyncio.wrap_future(done))
        except OSError as error:
            raise PublishError(f"standard output cannot be written: {error.strerror}") from error

    async def close(self) -> None:
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, 0.5)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            data, done = job
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._fd, view) :]
            except OSError as error:
                done.set_exception(error)
            else:
                done.set_result(None)
