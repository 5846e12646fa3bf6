"""Something to wait for that others can end, in the task that waits: a task of its own takes 2 KB."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


class Interruptible:
    """One thing at a time. It is cancelled when `interrupt` is called, and may take its time to end then."""

    __slots__ = ("_ends",)

    def __init__(self) -> None:
        self._ends: asyncio.Timeout | None = None

    async def run(self, work: Awaitable[T]) -> T | None:
        """What it returns; None when it was interrupted. Raises what it raises."""
        ends = asyncio.timeout(None)
        try:
            async with ends:
                self._ends = ends
                return await work
        except TimeoutError:
            if not ends.expired():
                raise
            return None
        finally:
            self._ends = None

    def interrupt(self) -> None:
        """End what runs, if anything does; a second call changes nothing."""
        if self._ends is not None and self._ends.when() is None:
            self._ends.reschedule(0)
