"""What one process knows of a remote host that it dials, and the dials that wait for their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from runtime.models.dials import DialLimits, Pause, RemoteDials
from runtime.urls import parse_url


def remote_of(url: str) -> str | None:
    """Host and port, as the budget and its record call them; None for a URL that cannot be dialled."""
    try:
        endpoint = parse_url(url)
    except ValueError:
        return None
    return f"{endpoint.host_in_url}:{endpoint.port}"


@dataclass(frozen=True, slots=True)
class Wait:
    """A dial waits at least until then, and for what."""

    until: datetime
    why: str


@dataclass(slots=True, eq=False)
class Turn:
    """One dial that wants to be made."""

    tell: Callable[[Wait | None], None]
    is_granted: bool = False
    has_waited: bool = False

    def wait(self, wait: Wait) -> None:
        """It has to."""
        self.has_waited = True
        self.tell(wait)

    def go(self) -> None:
        """Its wait is over."""
        if self.has_waited:
            self.tell(None)


@dataclass(slots=True)
class Remote:
    """What this process knows of a remote host. `mine`: what it has dialled itself; `made`: without asking."""

    name: str
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)
    ended: asyncio.Event = field(default_factory=asyncio.Event)  # a dial of this process
    waiting: dict[Turn, None] = field(default_factory=dict)
    in_flight: int = 0
    mine: RemoteDials = field(default_factory=RemoteDials)
    made: RemoteDials = field(default_factory=RemoteDials)
    pause: Pause | None = None
    wait: Wait | None = None
    heard_at: float | None = None
    ask_at: float = 0.0  # its record cannot be used until then
    is_unwritten: bool = False

    def is_idle(self, limits: DialLimits, now: float) -> bool:
        """Whether nothing is lost when it is forgotten."""
        is_used = self.waiting or self.in_flight or self.is_unwritten or self.asking.locked()
        return not is_used and self.pause_at(now) is None and self.mine.at(limits, now).is_empty

    def pause_at(self, now: float) -> Pause | None:
        """The pause that it has asked for, if that is not over."""
        if self.pause is not None:
            self.pause = self.pause.at(now)
        return self.pause

    def grant(self, turn: Turn) -> None:
        """This dial may be made."""
        turn.is_granted = True
        self.in_flight += 1
        self.waiting.pop(turn, None)

    def take(self, dials: int, limits: DialLimits, now: float) -> None:
        """So many of the dials that have waited longest may be made."""
        self.mine = self.mine.at(limits, now)
        if dials:
            self.mine = self.mine.adding(limits, limits.grant(now, dials))
        for turn in list(self.waiting)[:dials]:
            self.grant(turn)
