"""One host becomes five and one again while numbers come: shares are even, and nothing has two owners or is lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from runtime.placement import SLACK
from tests.acceptance.dapr.fleet import ARGS, BEAT_S, PROGRAM, ROUND_S, Fleet
from tests.acceptance.dapr.sockets import Sockets
from tests.acceptance.dapr.stack import EVENTS, REST_BEATS, running_stack
from tests.acceptance.dapr.streams import Stream
from tests.acceptance.feed import feeding

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]

CONNECTIONS = 100
MORE = ("host-2", "host-3", "host-4", "host-5")
TOPIC = "fleet-frames"
PATIENCE_S = 90
REST_ROUNDS = round(REST_BEATS * BEAT_S / ROUND_S)


@pytest_asyncio.fixture(loop_scope="session")
async def alone(tmp_path: Path) -> AsyncIterator[Fleet]:
    """A fleet of one host."""
    async with (
        feeding(tmp_path, ROUND_S) as feed,
        running_stack(tmp_path, *ARGS, hosts=("host-1",), program=PROGRAM) as stack,
    ):
        fleet = Fleet(stack, feed, Stream(stack.redis.port, TOPIC), stack.stream(EVENTS), Sockets(feed))
        try:
            await fleet.connect(*(fleet.body(number) for number in range(CONNECTIONS)))
            await fleet.until_held_by("host-1")
            await fleet.until_fresh()
            yield fleet
        finally:
            for pair in stack.hosts.values():
                pair.kill()


async def test_one_host_becomes_five_and_one_again_with_even_shares_one_owner_each_and_no_number_missing(alone: Fleet):
    fleet, began_at = alone, time.time()
    fleet.read().begin_anew()
    async with asyncio.TaskGroup() as group:
        for host in MORE:
            group.create_task(fleet.add(host))
    await fleet.until_held_by("host-1", *MORE, is_fair=True, patience_s=PATIENCE_S)
    fair_at = time.time()
    await fleet.until_fresh(REST_ROUNDS)
    assert not fleet.sockets.opened_since(fair_at), "shares were even, and it did not come to rest"
    shares = Counter(view["instanceId"] for view in (await fleet.views()).values())
    even = CONNECTIONS / (1 + len(MORE))
    assert max(shares.values()) <= (1 + SLACK) * even, shares
    assert min(shares[host] for host in ("host-1", *MORE)) >= even / 2, shares
    moved = fleet.sockets.opened_since(began_at)
    assert len(moved) >= CONNECTIONS - even * (1 + SLACK), "this test has seen nothing move"
    fleet.check_whole()

    async with asyncio.TaskGroup() as group:
        for host in MORE:
            group.create_task(fleet.remove(host))
    await fleet.until_held_by("host-1", patience_s=PATIENCE_S)
    await fleet.until_fresh()
    fleet.check()

    owners: dict[tuple[str, int], set[str]] = defaultdict(set)
    for status in fleet.ledger.told("status"):
        owners[status["connectionId"], status["epoch"]].add(status["instanceId"])
    assert not {key: ids for key, ids in owners.items() if len(ids) > 1}
