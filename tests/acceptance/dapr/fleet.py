"""Three hosts, each with a sidecar of its own, that share 300 connections to a feed which counts."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from runtime.models.constants import connection_key, instance_key
from runtime.placement import SLACK
from tests.acceptance.dapr.sockets import Sockets
from tests.acceptance.dapr.stack import EVENTS, PATIENCE_S, Pair, Stack, make_host, running_stack
from tests.acceptance.dapr.streams import Stream, ask
from tests.acceptance.feed import SLOTS, FeedProcess, feeding, slot_of
from tests.acceptance.ledger import Ledger, seconds
from tests.sidecar import COMPONENTS

HOSTS = ("host-1", "host-2", "host-3")
CONNECTIONS, ROUND_S = 300, 0.5
TOPIC = "fleet-frames"
BEAT_S, LEASE_S, HANDOVER_S, DRAIN_S, STALL_LIMIT_S, STALL_S = 1, 6, 8, 20, 2, 25
LEASE_KNOWS_ROUNDS = 5  # later each lease says that all was published which moved before
BUSY_S = 8  # what claims, dials and a machine with two cores may add to a lease
SETTINGS = {
    "--heartbeat-interval-s": BEAT_S,
    "--lease-s": LEASE_S,
    "--handover-s": HANDOVER_S,
    "--drain-deadline-s": DRAIN_S,
    "--loop-stall-limit-s": STALL_LIMIT_S,
    "--sweep-interval-s": 15,  # a nudge may be lost with a sidecar
}
ARGS = [str(word) for pair in SETTINGS.items() for word in pair]
BLOCKABLE = f"""
import signal, time
from runtime.cli import main
signal.signal(signal.SIGUSR1, lambda *_: time.sleep({STALL_S}))
main()
"""
"""`wsm` as it is, save that SIGUSR1 blocks its main thread, and so its loop."""
PROGRAM = (sys.executable, "-c", BLOCKABLE)
CALLS_AT_ONCE = 16


@dataclass
class Fleet:
    """The hosts, and one account of all that was published, told and dialled for their connections."""

    stack: Stack
    feed: FeedProcess
    frames: Stream
    told: Stream
    sockets: Sockets
    ledger: Ledger = field(default_factory=lambda: Ledger(overlaps=True))
    ids: set[str] = field(default_factory=set)

    def __getitem__(self, host: str) -> Pair:
        return self.stack.hosts[host]

    def body(self, number: int, name: str = "fleet", **more: Any) -> dict[str, Any]:
        """A connection that gets numbers."""
        id_ = f"{name}-{number}"
        return {"id": id_, "url": self.feed.url(f"numbers/{number % SLOTS}/{id_}"), "topic": TOPIC, **more}

    async def connect(self, *bodies: dict[str, Any]) -> None:
        """Make connections, several at a time, which from then on belong to the fleet."""
        self.ids |= {body["id"] for body in bodies}
        outcomes = await self._invoke_all("connect", [{"autoReconnect": True, **body} for body in bodies])
        assert {outcome["status"] for outcome in outcomes} == {"accepted"}, outcomes

    async def disconnect(self, *ids: str) -> None:
        """Remove connections, which from then on belong to the fleet no more."""
        await self._invoke_all("disconnect", [{"id": id_} for id_ in ids])
        self.ids -= set(ids)

    async def _invoke_all(self, method: str, bodies: list[dict[str, Any]]) -> list[Any]:
        slots = asyncio.Semaphore(CALLS_AT_ONCE)

        async def call(body: dict[str, Any]) -> Any:
            async with slots:
                return await self.stack.outsider.invoke(method, **body)

        async with asyncio.TaskGroup() as group:
            calls = [group.create_task(call(body)) for body in bodies]
        return [each.result() for each in calls]

    def read(self) -> Ledger:
        """Take in what was published since."""
        for event in self.told.fresh():
            if event["data"].get("connectionId") in self.ids:
                self.ledger.take_event(event)
        for event in self.frames.fresh():
            self.ledger.take_event(event)
        return self.ledger

    async def views(self) -> dict[str, dict[str, Any]]:
        """The fleet's records, by id."""
        listed = await self.stack.outsider.invoke("connections")
        return {view["id"]: view for view in listed if view["id"] in self.ids}

    async def owned_by(self, host: str) -> set[str]:
        """The connections of a host, by their records."""
        return {id_ for id_, view in (await self.views()).items() if view["instanceId"] == host}

    def record(self, id_: str) -> dict[str, Any]:
        """The record of a connection as it lies in Redis."""
        return self._stored(connection_key(id_))

    def _stored(self, key: str) -> dict[str, Any]:
        return dict(orjson.loads(ask(self.stack.redis.port, "HGET", f"statestore||{key}", "data")))

    def is_offered(self, id_: str) -> bool:
        """Whether the owner of a connection has offered it to another host, which may not have taken it yet."""
        return bool(self.record(id_).get("handover"))

    def last_word(self, host: str) -> float:
        """The Unix time up to which all is published that a host has read, as its lease says."""
        return seconds(self._stored(instance_key(host))["readUntil"])

    async def instance(self, host: str) -> dict[str, Any]:
        """What the list of hosts says of one."""
        (found,) = [view for view in await self.stack.outsider.invoke("instances") if view["id"] == host]
        return dict(found)

    async def until(
        self, holds: Callable[[], Awaitable[object]], what: Callable[[], str], patience_s: float = PATIENCE_S
    ) -> None:
        """Ask again and again, and take in meanwhile what is published."""
        deadline = time.monotonic() + patience_s
        while not await holds():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {patience_s:g} s: {what()}")
            self.read()
            await asyncio.sleep(0.2)

    async def until_held_by(
        self, *hosts: str, is_fair: bool = False, is_single: bool = True, patience_s: float = PATIENCE_S
    ) -> None:
        """Wait until each connection is Connected, owned by one of these hosts, and has one socket.

        `is_fair`: no host holds so much that it would give some away, or has offered some. `is_single`: there is no
        other socket.
        """
        most = (1 + SLACK) * len(self.ids) / len(hosts) if is_fair else len(self.ids)

        seen: list[tuple[str, Any, Any, int]] = []  # of each connection: id, status, owner, sockets

        async def is_so() -> bool:
            views, sockets = await self.views(), self.sockets.open_now()
            seen[:] = [(id_, view["status"], view["instanceId"], sockets[id_]) for id_, view in views.items()]
            owners = Counter(owner for *_, owner, _ in seen)
            is_held = views.keys() == self.ids and not strays() and max(owners.values()) <= most
            return is_held and not (is_fair and any(map(self.is_offered, self.ids)))

        def strays() -> list[tuple[str, Any, Any, int]]:
            counts = {1} if is_single else {1, 2}
            return [each for each in seen if each[1] != "Connected" or each[2] not in hosts or each[3] not in counts]

        def what() -> str:
            owners = Counter(owner for *_, owner, _ in seen)
            return f"all are held by {hosts}, by none more than {most:g}: {dict(owners)}, not so: {strays()[:5]}"

        await self.until(is_so, what, patience_s)

    async def until_fresh(self, rounds: int = 2) -> None:
        """Wait until each connection has published a number that the feed sent some rounds after this call.

        And until it was told to be Connected under that epoch: before that, but not before the frames, comes its gap.
        """
        begin = max(line["number"] for line in self.feed.told("number")) + rounds

        async def are_fresh() -> bool:
            ledger = self.read()
            numbers, told, newest = ledger.numbers, ledger.told_connected, ledger.newest
            has_come = all(id_ in numbers and numbers[id_].last >= begin for id_ in self.ids)
            return has_come and all(told.get(id_, 0) >= newest[id_] for id_ in self.ids)

        await self.until(are_fresh, lambda: "numbers of all connections have come")

    async def settle(self) -> None:
        """Start again what a test has left dead or draining, wait until all share, and begin a new account."""
        for host in set(self.stack.hosts) - set(HOSTS):
            await self.remove(host)
        for host in HOSTS:
            for process in (self[host].sidecar, self[host].app):
                process.resume() if process.is_alive else process.spawn()
        await self.stack.heal()
        for host in HOSTS:
            if (await self.instance(host))["isDraining"]:
                await asyncio.to_thread(self[host].app.stop)
                await asyncio.to_thread(self[host].app.start)
        await self.until_held_by(*HOSTS, is_fair=True)
        await self.until_fresh(LEASE_KNOWS_ROUNDS)
        self.read().begin_anew()

    async def add(self, host: str) -> None:
        """Start one more host."""
        stack = self.stack
        env = {**stack.redis.env, **stack.mosquitto.env, "SECRETS_FILE": str(stack.folder / "secrets.json")}
        pair = make_host(host, stack.folder, COMPONENTS / "local", env, *ARGS, program=PROGRAM)
        stack.hosts[host] = pair
        pair.spawn()
        await pair.until_up()

    async def remove(self, host: str) -> None:
        """Stop a host in order, with its sidecar."""
        pair = self.stack.hosts.pop(host)
        if pair.app.is_alive:
            await asyncio.to_thread(pair.app.stop)
        pair.kill()

    def check(self) -> int:
        """All that came was in order and is accounted for. Returns how many numbers are missing.

        What is missing lies in an announced gap, and what came twice was sent while two sockets were open.
        """
        ledger, sent = self.read(), self.feed.told("number")
        ledger.check_sequences()
        missing = ledger.check_holes(sent, slot_of)
        times = {(line["slot"], line["number"]): line["at"] for line in sent}
        faults = [
            f"{id_}: number {number} came twice, though one socket was open"
            for id_, number in ledger.doubled
            if self.sockets.open_at(id_, times[slot_of(id_), number]) < 2
        ]
        assert not faults, "\n".join(faults[:20])
        for host, pair in self.stack.hosts.items():
            assert not pair.app.logged("keeper_failed"), f"{host}: {pair.app.logged('keeper_failed')[:3]}"
        return missing

    def check_whole(self) -> None:
        """The same, and nothing is missing, announced as missing, or late."""
        missing = self.check()
        gaps = [*self.ledger.gaps("blind"), *self.ledger.gaps("dropped")]
        assert not gaps, f"{missing} numbers are missing, {len(gaps)} gaps are announced: {gaps[:5]}"
        assert missing == 0
        assert not self.ledger.late, f"came under an old epoch: {self.ledger.late[:20]}"

    def check_gaps(self, ids: Iterable[str], begin: float, end: float) -> None:
        """These connections, and no others, have one gap each, and it lies between two Unix times."""
        gaps = self.ledger.blind_times()
        assert gaps.keys() == set(ids)
        assert max(map(len, gaps.values())) == 1, max(gaps.values(), key=len)
        faults = [
            f"{id_}: gap from {since - begin:+.3f} s to {until - begin:+.3f} s of {end - begin:.3f} s"
            for id_, ((since, until),) in gaps.items()
            if not begin <= since <= until <= end
        ]
        assert not faults, "\n".join(faults[:20])


@asynccontextmanager
async def running_fleet(folder: Path) -> AsyncIterator[Fleet]:
    """The fleet for a block; nothing is left of it."""
    async with feeding(folder, ROUND_S) as feed, running_stack(folder, *ARGS, hosts=HOSTS, program=PROGRAM) as stack:
        fleet = Fleet(stack, feed, stack.stream(TOPIC), stack.stream(EVENTS), Sockets(feed))
        try:
            await fleet.connect(*(fleet.body(number) for number in range(CONNECTIONS)))
            await fleet.settle()
            yield fleet
        finally:
            for pair in stack.hosts.values():
                pair.kill()
