"""What the manager adds to the two things that it does on a sidecar: publishing a frame, and dialling on command.

Handlers, host and a third app apart, each with a sidecar of its own, on the component set `local`. Redis writes nothing
to disk, which would hide what the manager adds. All of them, the feed and the references share the machine.
"""

from __future__ import annotations

import time
from asyncio import TaskGroup
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson

from tests.acceptance.dapr.stack import EVENTS, Stack, running_stack
from tests.acceptance.dapr.streams import ask
from tests.acceptance.feed import FeedProcess, feeding, sent_at
from tests.bench.arrivals import Arrival, Arrivals
from tests.bench.references import output_of
from tests.bench.table import Group, Result, against, alone, percentile

RATE = 50  # a second: each event is on its way alone
WARM_UP = 25  # the first of each run of events or dials, which do not count
ROUNDS, FRAMES, CONNECTS = 5, 250, 25
BY_MANAGER, BY_PROGRAM = "bench-manager", "bench-program"  # topics: as long as each other, as all else in the events
BY_SIDECAR = ("traceid", "traceparent", "tracestate")  # what the sidecar adds to an event

BARE_PUBLISH, BARE_RETURN = "bare publish, call to stream", "bare publish, call to its return"
BARE_DIAL = "bare dial, call to open socket"
FRAME = "manager, frame sent to stream"
BY_TOPIC, BY_INVOCATION = "connect by topic, call to Connected", "connect by invocation, call to Connected"
ROWS: Sequence[tuple[str, str | None, Sequence[int]]] = (
    (BARE_PUBLISH, None, (50, 99)),
    (BARE_RETURN, None, (50, 99)),
    (FRAME, BARE_PUBLISH, (50, 99)),
    (BARE_DIAL, None, (50,)),
    (BY_TOPIC, BARE_DIAL, (50,)),
    (BY_INVOCATION, BARE_DIAL, (50,)),
)
"""What was measured, against what, and the percentiles that are shown."""

NOTE = f"""\
Handlers and host apart, each with a sidecar, as `make up` starts them; Redis keeps nothing on disk.
Frames: of one connection, {RATE} a second, each on its way alone, from the time at which the feed sends it until
a reader that waits at Redis has it. Bare: as many events of that size, from the call on the host's sidecar to the same.
Connects: one after the other, from the call at a third app's sidecar until that reader has the event "Connected"."""


async def measure(folder: Path, rounds: int = ROUNDS, frames: int = FRAMES, connects: int = CONNECTS) -> Group:
    """The rows."""
    async with feeding(folder, 1 / RATE) as feed, running_stack(folder) as stack:
        ask(stack.redis.port, "CONFIG", "SET", "appendonly", "no")
        run = Run(stack, feed, frames, connects)
        for _ in range(rounds):
            await run.round()
        about = {
            "rounds": rounds,
            "framesARound": frames,
            "connectsARound": connects,
            "eventsPerSecond": RATE,
            "eventBytes": len(run.document),
            "daprd": stack.host.sidecar.metadata()["runtimeVersion"],
        }
    return Group(f"On a sidecar with Redis; events of {len(run.document)} bytes", run.rows(), about, NOTE)


@dataclass
class Run:
    """What was measured so far, in milliseconds: a list for each round. `document`: the event of the bare program."""

    stack: Stack
    feed: FeedProcess
    frames: int
    connects: int
    samples: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))
    document: bytes = b""

    async def round(self) -> None:
        """Everything once, each close to its reference."""
        last = await self._manager_publishes()
        event = {name: value for name, value in last.items() if name not in BY_SIDECAR}
        self.document = orjson.dumps({**event, "topic": BY_PROGRAM})
        await self._program_publishes()
        await self._connects(BY_TOPIC, lambda body: self.stack.outsider.command(command="connect", **body))
        dials = await output_of("bare_dial", self.feed.url("quiet/0"), str(WARM_UP + self.connects), str(RATE))
        self._note(BARE_DIAL, dials)
        await self._connects(BY_INVOCATION, lambda body: self.stack.outsider.invoke("connect", **body))

    def rows(self) -> list[Result]:
        """All of it."""
        return [
            alone(f"{name}, p{percent}", "ms", self._by_round(name, percent))
            if reference is None
            else against(
                f"{name}, p{percent}",
                "ms",
                self._by_round(name, percent),
                f"{reference}, p{percent}",
                self._by_round(reference, percent),
            )
            for name, reference, percents in ROWS
            for percent in percents
        ]

    def _by_round(self, name: str, percent: int) -> list[float]:
        return [percentile(samples, percent) for samples in self.samples[name]]

    def _note(self, name: str, seconds: Sequence[float], warm_up: int = WARM_UP) -> None:
        self.samples[name].append([1000 * each for each in seconds[warm_up:]])

    async def _manager_publishes(self) -> dict[str, Any]:
        """Frames of one connection; the last of their events."""
        arrivals, told, id_ = self._arrivals(BY_MANAGER), self._arrivals(EVENTS), uuid4().hex
        await self.stack.outsider.invoke("connect", id=id_, url=self.feed.url(f"numbers/0/{id_}"), topic=BY_MANAGER)
        got = await arrivals.take(WARM_UP + self.frames)
        await self._disconnect(id_, told)
        self._note(FRAME, [_seconds(arrival) for arrival in got])
        return got[-1].event

    async def _program_publishes(self) -> None:
        """As many events of the same size, at the same rate, on the same sidecar."""
        arrivals, count = self._arrivals(BY_PROGRAM), WARM_UP + self.frames
        args = str(self.stack.host.sidecar.grpc_port), "pubsub", BY_PROGRAM, str(count), str(RATE)
        async with TaskGroup() as group:
            taking = group.create_task(arrivals.take(count))
            self._note(BARE_RETURN, await output_of("bare_publish", *args, self.document.decode()))
        self._note(BARE_PUBLISH, [_seconds(arrival) for arrival in taking.result()])

    async def _connects(self, name: str, give: Callable[[dict[str, Any]], Awaitable[object]]) -> None:
        """Connect and disconnect again and again."""
        told, taken = self._arrivals(EVENTS), []
        for _ in range(self.connects):
            id_ = uuid4().hex
            async with TaskGroup() as group:
                connected = group.create_task(told.until(connectionId=id_, status="Connected"))
                began = time.time()
                await give({"id": id_, "url": self.feed.url("quiet/0")})
            taken.append(connected.result() - began)
            await self._disconnect(id_, told)
        self._note(name, taken, warm_up=0)

    async def _disconnect(self, id_: str, told: Arrivals) -> None:
        """All that it received is published when it is told."""
        await self.stack.outsider.invoke("disconnect", id=id_)
        await told.until(connectionId=id_, status="Disconnected")

    def _arrivals(self, topic: str) -> Arrivals:
        return Arrivals(self.stack.redis.port, topic)


def _seconds(arrival: Arrival) -> float:
    """From the time that the payload tells until it was in the stream."""
    return arrival.at - sent_at(arrival.event["data"]["payload"])[1]
