"""Hosts between which a connection moves, and a peer that counts, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from runtime.ports import Limits
from tests.unit.cluster import LIMITS, Cluster, Member

FAST = replace(LIMITS, heartbeat_interval_s=1, lease_s=5, handover_s=4)
EVERY_S = 0.05


class Feed:
    """A peer that sends the same number to every open socket of a connection."""

    def __init__(self, cluster: Cluster, id_: str = "a") -> None:
        self.cluster, self.id, self.sent = cluster, id_, 0

    def sockets(self) -> list[Any]:
        dialled = [socket for member in self.cluster.members.values() for socket in member.dialer.sockets]
        return [socket for socket in dialled if socket.is_open and f"/{self.id}?" in socket.dial.url]

    async def run(self) -> None:
        while True:
            self.sent += 1
            for socket in self.sockets():
                socket.push(str(self.sent))
            await asyncio.sleep(EVERY_S)

    def published(self) -> list[int]:
        """The numbers in the order of their first arrival."""
        frames = [data for data in self.cluster.data("frame") if data["websocketId"] == self.id]
        return list(dict.fromkeys(int(data["payload"]) for data in frames))

    def check_complete(self) -> None:
        """In order, from the first that was published to the last that was sent, all are there."""
        published = self.published()
        assert published == list(range(published[0], published[-1] + 1))
        assert published[-1] >= self.sent - 2


@asynccontextmanager
async def feeding(cluster: Cluster, *ids: str) -> AsyncIterator[list[Feed]]:
    """A peer for each of these connections, for the block."""
    feeds = [Feed(cluster, id_) for id_ in ids]
    tasks = [asyncio.create_task(feed.run()) for feed in feeds]
    try:
        yield feeds
    finally:
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def owning(limits: Limits = FAST, **fields: Any) -> AsyncIterator[tuple[Cluster, Member, Member]]:
    """A cluster in which nothing is rebalanced, the member that owns `a`, and another one."""
    cluster = Cluster(2, replace(limits, rebalances=False))
    async with cluster.running():
        await cluster.settle(3)
        await cluster.connect("a", **fields)
        await cluster.settle(1)
        (owner,) = cluster.holders_of("a")
        other = next(member for member in cluster.members.values() if member.id != owner)
        yield cluster, cluster.members[owner], other


@asynccontextmanager
async def moving(**fields: Any) -> AsyncIterator[tuple[Cluster, Feed, Member, Member]]:
    """The same, and frames come."""
    async with owning(**fields) as (cluster, owner, other), feeding(cluster, "a") as (feed,):
        await cluster.settle(1)
        yield cluster, feed, owner, other


def move(owner: Member, other: Member, *, stays: bool = True) -> None:
    owner.host.keepers["a"].hand_over(other.id, FAST.handover_s, lambda: stays)


def blind_gaps(cluster: Cluster) -> list[dict[str, Any]]:
    return [gap for gap in cluster.data("gap") if gap["kind"] == "blind"]
