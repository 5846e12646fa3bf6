"""The sweep: looks at the leases at every heartbeat, and at the records, for what no nudge has brought."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from runtime.errors import GarbageRecordError, StoreError
from runtime.host.course import Course
from runtime.host.host import Host
from runtime.host.inspection import Inspector
from runtime.host.watch import Watch

JITTER = 0.1
DEAF_INTERVAL_S = 5.0
SAID_TWICE = 2
MAX_AHEAD = 1000  # records that a pass has found, and that nobody has looked at yet
WAIT_S = 0.1
RETRY_S = 1.0


@dataclass(slots=True)
class Sweeper:
    """Goes over the records in passes, never two at a time.

    A *full* pass looks at all of them: at the start, when a host has died, and when nudges may have been missed. A
    *slow* one, every `sweep_interval_s`, looks at this host's part and at what it holds, or every few seconds while
    the host is deaf, that is when nudges do not reach it. Without a watch there are no other hosts, and every pass is
    a full one.
    """

    host: Host
    watch: Watch | None
    is_deaf: bool = False
    _inspector: Inspector = field(init=False)
    _wants_full: bool = True
    _next_at: float = 0.0
    _times_missed: int = 0
    _wanted: asyncio.Event = field(default_factory=asyncio.Event)
    _passing: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._inspector = Inspector(self.host, is_alone=self.watch is None)

    async def run(self) -> None:
        """Tick at every heartbeat, and do the passes that are due, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_passing())
            group.create_task(self._keep_ticking())

    async def tick(self) -> None:
        """Look at the leases, and ask for the pass that is due. Raises StoreError, GarbageRecordError."""
        dead = await self.watch.look() if self.watch is not None else set()
        self._wants_full = self._wants_full or bool(dead) or self.watch is None
        self.host.agenda.resume()
        await self._inspector.see_to_overdue()
        if self._wants_full or self.host.tools.clock.monotonic() >= self._next_at:
            self._wanted.set()

    def catch_up(self) -> None:
        """Look at all records soon: nudges may have been missed."""
        self._wants_full = True
        self._wanted.set()

    def hear(self, *, is_subscribed: bool) -> None:
        """What the sidecar says of the topic of this host; that it is missing counts when it was said twice."""
        self._times_missed = 0 if is_subscribed else self._times_missed + 1
        was_deaf, self.is_deaf = self.is_deaf, self._times_missed >= SAID_TWICE
        if not self.is_deaf or was_deaf:
            return
        self._next_at = 0.0
        tools = self.host.tools
        topic = tools.names.owner_topic(self.host.instance_id)
        tools.observer.warn("not_subscribed", topic=topic, instead=f"a look every {DEAF_INTERVAL_S:g} s")
        tools.announcer.notice(
            f"the sidecar of {self.host.instance_id} is not subscribed to {topic}: commands reach it late;"
            " restart the sidecar"
        )

    async def sweep(self) -> Mapping[str, int]:
        """Do a full pass now. Returns what was found how often. Raises StoreError, GarbageRecordError."""
        async with self._passing:
            return await self._pass(is_full=True)

    async def _keep_ticking(self) -> None:
        clock, limits = self.host.tools.clock, self.host.limits
        while True:
            pause_s = self._interval_s() if self.watch is None else limits.heartbeat_interval_s
            try:
                await self.tick()
            except (StoreError, GarbageRecordError) as error:
                self._warn(error)
                pause_s = min(RETRY_S, pause_s)  # a long pause without a look makes all counts begin anew
            await clock.sleep(pause_s)

    async def _keep_passing(self) -> None:
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            try:
                async with self._passing:
                    await self._pass(is_full=self._wants_full)
            except (StoreError, GarbageRecordError) as error:
                self._warn(error)

    async def _pass(self, *, is_full: bool) -> Counter[str]:
        tools = self.host.tools
        self._next_at = tools.clock.monotonic() + self._interval_s()
        self._wants_full = self._wants_full and not is_full  # a host that dies meanwhile asks for another one
        counts: Counter[str] = Counter()
        course = self._course(is_full=is_full)
        try:
            async for batch in course.batches():
                async for connection_id, record in tools.records.get_many(batch):
                    place = course.place(connection_id)
                    counts[await self._inspector.inspect(connection_id, record, place)] += 1
                while len(self.host.agenda) > MAX_AHEAD:
                    await tools.clock.sleep(WAIT_S)
                if self._wants_full and not is_full:  # which looks at the rest, too
                    self._wanted.set()
                    return counts
            await self._finish(course)
        except (StoreError, GarbageRecordError):
            self._wants_full, self._next_at = self._wants_full or is_full, 0.0  # again at the next tick
            raise
        return counts

    def _course(self, *, is_full: bool) -> Course:
        host, tools = self.host, self.host.tools
        living = frozenset(host.others.living())
        rate = host.limits.sweep_rate if self.watch is not None else None
        return Course(tools.records, tools.clock, host.instance_id, living, host.keepers, is_full, rate)

    async def _finish(self, course: Course) -> None:
        self._inspector.pass_s = course.size / self.host.limits.sweep_rate
        for connection_id in course.impossible:
            if course.place(connection_id) == 0:
                self.host.unheld.quarantine(connection_id, GarbageRecordError("no record can have such an id"))
        if course.garbage is not None:  # it will not heal by a look
            self._warn(course.garbage)
            return
        for connection_id in course.unlisted & self.host.keepers.keys():
            await self.host.tools.records.restore_to_index(connection_id)
        if course.is_full:
            self.host.all_looked_at()

    def _interval_s(self) -> float:
        interval_s = self.host.limits.sweep_interval_s * (1 + JITTER * (2 * self.host.tools.random() - 1))
        return min(interval_s, DEAF_INTERVAL_S) if self.is_deaf else interval_s

    def _warn(self, error: StoreError | GarbageRecordError) -> None:
        self.host.tools.observer.warn("sweep_failed", reason=str(error))
