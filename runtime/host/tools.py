"""What every keeper of a host shares."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from runtime.errors import StoreError
from runtime.host.announcer import Announcer
from runtime.host.dial_budget import DialBudget
from runtime.host.dialing import GuardedDialer
from runtime.host.lease import Always, Tenure
from runtime.host.preparation import Preparation
from runtime.host.status import StatusWriter
from runtime.host.watch import Nobody, Others
from runtime.ports import DEFAULT_NAMES, NO_METERS, Clock, Meters, Names, Nudges, Observer, Random
from runtime.records import Records

RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Tools:
    """The records, the way out for sockets, events and nudges, the other hosts, and the world's time and chance."""

    records: Records
    preparation: Preparation
    dialer: GuardedDialer
    dials: DialBudget
    announcer: Announcer
    writer: StatusWriter
    clock: Clock
    random: Random
    observer: Observer
    nudges: Nudges
    meters: Meters = NO_METERS
    names: Names = DEFAULT_NAMES
    others: Others = field(default_factory=Nobody)
    tenure: Tenure = field(default_factory=Always)

    async def until_written(self, connection_id: str, write: Callable[[], Awaitable[None]], warning: str) -> None:
        """Do a write of a record again and again until the store takes it; what else it raises passes through."""
        while True:
            try:
                await write()
            except StoreError as error:
                self.observer.warn(warning, id=connection_id, reason=str(error))
                await self.clock.sleep(RETRY_S)
            else:
                return

    async def nudge(self, instance_id: str, connection_id: str) -> None:
        """Hint one host."""
        await self.nudges.nudge(self.names.owner_topic(instance_id), connection_id)

    async def nudge_all(self, connection_id: str) -> None:
        """Hint whichever host gets it: nobody owns the connection."""
        await self.nudges.nudge(self.names.host_topic, connection_id)
