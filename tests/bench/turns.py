"""Programs that take turns: all but one are stopped by a signal, so that no turn pays for a start."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import psutil

WARM_UP_S, WINDOW_S = 0.5, 0.9
PATIENCE_S = 60
NUMBER_BYTES = 100  # a line with a count is shorter


@dataclass(frozen=True)
class Rate:
    """What a program did in a window: so many a second, and the microseconds of processor time for each."""

    per_s: float
    cpu_us: float


class Counter(Protocol):
    """Counts what has come of a program, where it comes to. A mark is quick to take, the rest may be done later."""

    async def mark(self) -> int:
        """Where it is now."""

    def between(self, first: int, last: int) -> int:
        """How many came from one mark to another."""


class Lines:
    """Lines in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def mark(self) -> int:
        return self._path.stat().st_size

    def between(self, first: int, last: int) -> int:
        with self._path.open("rb") as file:
            file.seek(first)
            return file.read(last - first).count(b"\n")


class Told:
    """What a program says itself: the last number in its file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def mark(self) -> int:
        with self._path.open("rb") as file:
            file.seek(max(0, self._path.stat().st_size - NUMBER_BYTES))
            whole = file.read().rpartition(b"\n")[0]
        return int(whole.split()[-1]) if whole else 0

    def between(self, first: int, last: int) -> int:
        return last - first


@dataclass(frozen=True)
class Program:
    """A process that has turns, and where to count what it does."""

    pid: int
    counter: Counter

    async def ready(self) -> Program:
        """Itself, stopped, once something has come of it."""
        with its_turn(self.pid):
            await until_it_counts(self.counter)
        return self

    async def rate(self, warm_up_s: float = WARM_UP_S, window_s: float = WINDOW_S) -> Rate:
        """Look at a window of what it does in its turn."""
        with its_turn(self.pid):
            await asyncio.sleep(warm_up_s)
            first, begin, busy = await self.counter.mark(), time.monotonic(), cpu_s(self.pid)
            await asyncio.sleep(window_s)
            async with asyncio.timeout(PATIENCE_S):
                while (last := await self.counter.mark()) == first:
                    await asyncio.sleep(window_s)
            seconds, busy = time.monotonic() - begin, cpu_s(self.pid) - busy
        count = self.counter.between(first, last)
        return Rate(count / seconds, 1e6 * busy / count)


@contextmanager
def its_turn(pid: int) -> Iterator[None]:
    """Let a process run for the block. It is stopped afterwards; SIGKILL ends it all the same."""
    os.kill(pid, signal.SIGCONT)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGSTOP)


async def until_it_counts(counter: Counter) -> None:
    """Wait until something has come."""
    first = await counter.mark()
    async with asyncio.timeout(PATIENCE_S):
        while await counter.mark() == first:
            await asyncio.sleep(0.05)


def cpu_s(pid: int) -> float:
    """The processor time that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
