"""Whether the main loop ticks, and what the host holds at each tick: all that another thread may know of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from runtime.host.host import Host
from runtime.host.lease import Account
from runtime.ports import Clock

TICK_S = 0.5


@dataclass(slots=True)
class Pulse:
    """Takes accounts of a host. `latest` is replaced as a whole, so that any thread may read it."""

    host: Host
    clock: Clock
    latest: Account = field(init=False)

    def take(self) -> Account:
        """How things are now. On the main loop only: it looks through what that changes."""
        host = self.host
        self.latest = Account(len(host.keepers), host.read_until(), host.is_draining, self.clock.monotonic())
        return self.latest

    async def run(self) -> None:
        """Take one at every tick until cancelled."""
        while True:
            self.take()
            self.host.heed_lease()
            await self.clock.sleep(TICK_S)
