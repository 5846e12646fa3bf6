"""The dials of all hosts together to each remote host, as they are stored, and what one more may do: pure arithmetic.

Times are Unix seconds of whoever wrote them. What lies further ahead than it could is taken to be written now, so that
a wrong clock costs one window or one pause, and stops nobody for ever.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import Field

from runtime.models.constants import DaprConstants, hashed_key
from runtime.models.wire import WireModel

PAGES = 1024
REMOTES_MAX = 64  # on one page: who finds no room there keeps to a share of its own
SLOTS = 20  # parts of a window: a record holds no more numbers than that, and a dial counts up to a part longer
HOLD_S = 150.0  # longer than any dial: so long a host that died keeps its dials in flight
ASK_AGAIN_S = 1.0  # when too many are in flight: nobody knows when one of them ends
SKEW_S = 5.0

Grant = tuple[float, int]
"""Dials that were granted up to a moment."""


@dataclass(frozen=True, slots=True)
class DialLimits:
    """What all hosts together may dial of one remote host: so many in a window, so many at once. 0: no limit."""

    in_window: int = 0
    window_s: float = 300
    at_once: int = 0

    @property
    def is_set(self) -> bool:
        """Whether anything is limited."""
        return bool(self.in_window or self.at_once)

    def grant(self, now: float, dials: int) -> Grant:
        """So many dials that are granted now; they count from the end of this part of the window."""
        part_s = self.window_s / SLOTS
        return round((math.floor(now / part_s) + 1) * part_s, 3), dials

    def share(self, hosts: int) -> DialLimits:
        """What each of so many hosts may do while they cannot ask: at least one dial."""
        in_window = max(1, self.in_window // hosts) if self.in_window else 0
        return DialLimits(in_window, self.window_s, max(1, self.at_once // hosts) if self.at_once else 0)


class Pause(WireModel):
    """A remote host has asked to be left alone: until when, how long that was, and by what."""

    until: float
    length_s: float
    why: str = Field(max_length=256)

    def at(self, now: float) -> Pause | None:
        """As it holds now; None when it is over."""
        if self.until <= now:
            return None
        return self.model_copy(update={"until": min(self.until, now + self.length_s + SKEW_S)})


class InFlight(WireModel):
    """Dials that a host has in flight, and until when that is believed without hearing of them again."""

    dials: int
    until: float


@dataclass(frozen=True, slots=True)
class Ask:
    """What a host wants: `wanted` more dials beside those in flight. `made`: what it dialled while it could not ask."""

    instance_id: str
    wanted: int = 0
    in_flight: int = 0
    made: tuple[Grant, ...] = ()
    pause: Pause | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """How many dials were granted. None: ask again after `wait_s`; `why` says what is spent, or who pauses."""

    granted: int = 0
    wait_s: float = 0
    why: str = ""
    pause: Pause | None = None
    is_full: bool = False


class RemoteDials(WireModel):
    """One remote host: dials granted in the window, dials in flight by host, and its pause."""

    granted: tuple[Grant, ...] = ()
    in_flight: Mapping[str, InFlight] = {}
    pause: Pause | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to remember."""
        return not (self.granted or self.in_flight or self.pause)

    def at(self, limits: DialLimits, now: float) -> RemoteDials:
        """Without what no longer counts."""
        ahead = limits.grant(now, 0)[0] + SKEW_S
        granted = tuple((min(at, ahead), dials) for at, dials in self.granted if at + limits.window_s > now)
        in_flight = {
            id_: held.model_copy(update={"until": min(held.until, now + HOLD_S + SKEW_S)})
            for id_, held in self.in_flight.items()
            if held.until > now
        }
        pause = self.pause.at(now) if self.pause is not None else None
        return self.model_copy(update={"granted": granted, "in_flight": in_flight, "pause": pause})

    def ask(self, ask: Ask, limits: DialLimits, now: float) -> tuple[RemoteDials, Answer]:
        """What is stored afterwards, and what the host may do."""
        held = self.at(limits, now).adding(limits, *ask.made).pausing(ask.pause)
        if held.pause is not None:
            wait_s, free, why = held.pause.until - now, 0, held.pause.why
        else:
            free, wait_s, why = held.free(ask, limits, now)
        granted = min(ask.wanted, free)
        if granted:
            held = held.adding(limits, limits.grant(now, granted))
        answer = Answer(granted, 0 if granted else wait_s, "" if granted else why, held.pause)
        return held.flying(ask.instance_id, ask.in_flight + granted, limits, now), answer

    def adding(self, limits: DialLimits, *grants: Grant) -> RemoteDials:
        """With dials that were granted."""
        if not grants or not limits.in_window:
            return self
        sums: dict[float, int] = {}
        for at, dials in (*self.granted, *grants):
            sums[at] = sums.get(at, 0) + dials
        return self.model_copy(update={"granted": tuple(sorted(sums.items()))})

    def pausing(self, pause: Pause | None) -> RemoteDials:
        """With a pause, if it is longer than the one that is known."""
        is_longer = pause is not None and (self.pause is None or pause.until > self.pause.until)
        return self.model_copy(update={"pause": pause}) if is_longer else self

    def flying(self, instance_id: str, dials: int, limits: DialLimits, now: float) -> RemoteDials:
        """With so many dials of a host in flight."""
        in_flight = {id_: held for id_, held in self.in_flight.items() if id_ != instance_id}
        if dials and limits.at_once:
            in_flight[instance_id] = InFlight(dials=dials, until=round(now + HOLD_S, 3))
        return self.model_copy(update={"in_flight": in_flight})

    def free(self, ask: Ask, limits: DialLimits, now: float) -> tuple[int, float, str]:
        """How many more dials there may be; if none, how long to wait, and for what."""
        others = sum(held.dials for id_, held in self.in_flight.items() if id_ != ask.instance_id)
        free, used = ask.wanted, sum(dials for _, dials in self.granted)
        if limits.at_once:
            free = min(free, limits.at_once - others - ask.in_flight)
        if limits.in_window and used >= limits.in_window:
            over = used - limits.in_window
            for at, dials in self.granted:
                over -= dials
                if over < 0:
                    return 0, at + limits.window_s - now, f"{limits.in_window} in {limits.window_s:g} s"
        if free <= 0:
            return 0, ASK_AGAIN_S, f"{limits.at_once} at once"
        return min(free, limits.in_window - used) if limits.in_window else free, 0, ""


class DialsPage(WireModel):
    """The key `websocket.dials.<n>`: those of the remote hosts whose names have the same hash."""

    remotes: Mapping[str, RemoteDials] = {}

    def ask(self, name: str, ask: Ask, limits: DialLimits, now: float) -> tuple[DialsPage, Answer]:
        """As of one remote host; what no longer counts of the others goes."""
        kept = {other: found for other, dials in self.remotes.items() if not (found := dials.at(limits, now)).is_empty}
        if name not in kept and len(kept) >= REMOTES_MAX:
            return self.model_copy(update={"remotes": kept}), Answer(is_full=True)
        dials, answer = kept.get(name, RemoteDials()).ask(ask, limits, now)
        kept[name] = dials
        if dials.is_empty:
            del kept[name]
        return self.model_copy(update={"remotes": kept}), answer


def dials_key(remote: str) -> str:
    """The key under which a remote host is found, `name:port`: there are no more than so many."""
    return hashed_key(DaprConstants.DIALS_PREFIX, remote.encode(), PAGES)
