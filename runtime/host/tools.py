"""What every keeper of a host shares."""

from __future__ import annotations

from dataclasses import dataclass

from runtime.host.announcer import Announcer
from runtime.host.dialing import GuardedDialer
from runtime.host.status import StatusWriter
from runtime.ports import NO_METERS, Clock, Meters, Observer, Random
from runtime.records import Records


@dataclass(frozen=True, slots=True)
class Tools:
    """The records, the way out for sockets and events, and the world's time and chance."""

    records: Records
    dialer: GuardedDialer
    announcer: Announcer
    writer: StatusWriter
    clock: Clock
    random: Random
    observer: Observer
    meters: Meters = NO_METERS
