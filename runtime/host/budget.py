"""What all queues of a process may hold together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

UNBOUNDED = 2**63


@dataclass(slots=True)
class Budget:
    """Counts bytes; whoever holds more adds to `held_bytes`.

    It may be exceeded by one message of each queue, or one full queue would silence all others.
    """

    max_bytes: int = UNBOUNDED
    held_bytes: int = 0
    _waiting: dict[Callable[[], None], None] = field(default_factory=dict)  # a set that keeps its order

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be held."""
        return self.held_bytes >= self.max_bytes

    def give_back(self, size: int) -> None:
        """Less is held: whoever waits may look again, those who wait longest first."""
        self.held_bytes -= size
        if self._waiting and not self.is_spent:
            waiting, self._waiting = self._waiting, {}
            for look_again in waiting:
                look_again()

    def wait(self, look_again: Callable[[], None]) -> None:
        """Call back once when there is some again."""
        self._waiting[look_again] = None

    def leave(self, look_again: Callable[[], None]) -> None:
        """Do not call back any more."""
        self._waiting.pop(look_again, None)
