"""How many connections a host may hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from runtime.host.tools import Tools


@dataclass(slots=True)
class Room:
    """Counts what is held and what is about to be; says once when there is no more room."""

    instance_id: str
    tools: Tools
    limit: int
    held: Callable[[], int]
    _taken: int = 0
    _was_full: bool = False

    @property
    def load(self) -> int:
        """How many are held, or about to be."""
        return self.held() + self._taken

    def is_full(self) -> bool:
        """Whether nothing more may be claimed now."""
        is_full = self.load >= self.limit
        self._was_full = self._was_full and is_full
        return is_full

    def tell_full(self) -> None:
        """Others have to wait: say so once until there was room."""
        if not self._was_full:
            self.tools.observer.warn("host_full", max_connections=self.limit)
            text = f"{self.instance_id} holds {self.limit} connections (max_connections): others wait"
            self.tools.announcer.notice(text)
        self._was_full = True

    @contextmanager
    def taken(self) -> Iterator[None]:
        """A place for a claim that is on its way."""
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
