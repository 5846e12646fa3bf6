"""Much to do at once, spread over turns of the event loop: timers, heartbeats and other sockets come in between."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

AT_ONCE = 8  # a lost connection takes half a millisecond until it waits to be dialled again


class Turns:
    """Calls back in order, at most so many in one turn."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._waiting: deque[Callable[[], object]] = deque()
        self._is_scheduled = False

    def call(self, callback: Callable[[], object]) -> None:
        """Call soon."""
        self._waiting.append(callback)
        self._schedule()

    def _schedule(self) -> None:
        if self._waiting and not self._is_scheduled:
            self._is_scheduled = True
            asyncio.get_running_loop().call_soon(self._take)

    def _take(self) -> None:
        self._is_scheduled = False
        try:
            for _ in range(min(self._at_once, len(self._waiting))):
                self._waiting.popleft()()
        finally:
            self._schedule()
