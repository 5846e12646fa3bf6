"""Hosts of a fleet that die, hang, or lose sidecar or store: others go on, and every missing number is announced."""

from __future__ import annotations

import asyncio
import signal
import time

import pytest

from tests.acceptance.dapr.fleet import BEAT_S, BUSY_S, HOSTS, LEASE_S, STALL_LIMIT_S, Fleet
from tests.acceptance.dapr.stack import REST_BEATS

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]

FAILOVER_S = LEASE_S + BUSY_S
REDIS_AWAY_S = 30
REST_S, PATIENCE_S = REST_BEATS * BEAT_S, 90


@pytest.mark.parametrize("with_sidecar", [False, True], ids=["alone", "with-its-sidecar"])
async def test_what_a_killed_host_held_lives_again_within_the_lease_and_what_was_missed_is_announced(
    fleet: Fleet, with_sidecar: bool
):
    theirs, epochs = await fleet.owned_by("host-1"), dict(fleet.ledger.newest)
    killed_at = time.time()
    fleet["host-1"].app.kill()
    if with_sidecar:
        fleet["host-1"].sidecar.kill()
    last_word = fleet.last_word("host-1")
    await fleet.until_held_by("host-2", "host-3")
    await fleet.until_fresh()
    assert fleet.check() >= len(theirs), "this test has seen nothing lost"
    fleet.check_gaps(theirs, last_word, killed_at + FAILOVER_S)
    assert not fleet.ledger.late
    assert not [id_ for id_ in theirs if fleet.ledger.newest[id_] <= epochs[id_]], "the epoch has not risen"


async def test_a_sidecar_that_dies_and_is_back_within_the_lease_costs_nothing(fleet: Fleet):
    before, killed_at = await _owners_at_rest(fleet), time.time()
    await asyncio.to_thread(fleet["host-2"].sidecar.restart)
    await asyncio.sleep(LEASE_S)
    await fleet.until_held_by(*HOSTS)
    await fleet.until_fresh()
    fleet.check_whole()
    assert await _owners(fleet) == before
    assert not fleet.sockets.closed_since(killed_at)


async def test_a_host_whose_sidecar_is_away_for_longer_than_the_lease_lets_go_of_what_others_took_and_loses_nothing(
    fleet: Fleet,
):
    theirs, killed_at = await fleet.owned_by("host-2"), time.time()
    fleet["host-2"].sidecar.kill()
    last_word = fleet.last_word("host-2")
    await fleet.until_held_by("host-1", "host-3", is_single=False)
    assert not theirs & fleet.sockets.closed_since(killed_at).keys(), "it cannot know that it is out"
    await asyncio.to_thread(fleet["host-2"].sidecar.start)
    await fleet.until_held_by(*HOSTS)
    await fleet.until_fresh()

    async def is_whole() -> bool:
        return not any(numbers.holes for numbers in fleet.read().numbers.values())

    await fleet.until(is_whole, lambda: "what it has read meanwhile is published")
    assert fleet.check() == 0
    assert {id_ for id_, _ in fleet.ledger.late} == theirs
    fleet.check_gaps(theirs, last_word, killed_at + FAILOVER_S)


async def test_a_host_that_was_paused_for_longer_than_its_lease_closes_what_others_took_and_its_frames_are_known_as_old(
    fleet: Fleet,
):
    theirs, paused_at = await fleet.owned_by("host-3"), time.time()
    fleet["host-3"].app.pause()
    last_word = fleet.last_word("host-3")
    try:
        await fleet.until_held_by("host-1", "host-2", is_single=False)
        await fleet.until_fresh()
    finally:
        fleet["host-3"].app.resume()
    resumed_at = time.time()
    await fleet.until_held_by(*HOSTS)
    await fleet.until_fresh()
    fleet.check()
    fleet.check_gaps(theirs, last_word, paused_at + FAILOVER_S)
    late = {id_ for id_, _ in fleet.ledger.late}
    assert late, "this test has seen no late frame"
    assert late <= theirs
    assert fleet.sockets.closed_since(resumed_at).keys() >= theirs


async def test_a_host_whose_loop_is_blocked_for_longer_than_the_stall_limit_loses_its_connections_to_others(
    fleet: Fleet,
):
    theirs, blocked_at = await fleet.owned_by("host-2"), time.time()
    last_word = fleet.last_word("host-2")  # or a later one: the thread of the heartbeat beats on until the limit
    fleet["host-2"].app.send(signal.SIGUSR1)
    await fleet.until_held_by("host-1", "host-3", is_single=False, patience_s=STALL_LIMIT_S + FAILOVER_S)
    assert fleet["host-2"].app.logged("loop_stalled")
    assert not fleet["host-2"].app.logged("loop_ticks_again"), "it was not blocked for long enough"
    await fleet.until_held_by(*HOSTS)
    await fleet.until_fresh()
    fleet.check()
    fleet.check_gaps(theirs, last_word, blocked_at + STALL_LIMIT_S + FAILOVER_S)
    assert {id_ for id_, _ in fleet.ledger.late} <= theirs


async def test_while_redis_is_away_no_socket_is_closed_and_afterwards_nothing_has_changed_its_owner(fleet: Fleet):
    before, left_at = await _owners_at_rest(fleet), time.time()
    redis = fleet.stack.redis.process
    redis.kill()
    try:
        await asyncio.sleep(REDIS_AWAY_S)
    finally:
        await asyncio.to_thread(redis.start)
    await fleet.until_fresh()
    await asyncio.sleep(LEASE_S)
    await fleet.stack.until_up()
    await fleet.until_held_by(*HOSTS)
    await fleet.until_fresh()
    fleet.check_whole()
    assert await _owners(fleet) == before
    assert not fleet.sockets.closed_since(left_at)


async def test_a_connection_that_is_removed_while_its_owner_is_dead_stays_removed(fleet: Fleet):
    names = [fleet.body(number, "doomed") for number in range(30)]
    await fleet.connect(*names)
    await fleet.until_held_by(*HOSTS)
    doomed = await fleet.owned_by("host-3") & {body["id"] for body in names}
    assert doomed, "none of them came to the host"
    killed_at = time.time()
    fleet["host-3"].app.kill()
    await fleet.disconnect(*doomed)

    async def are_settled() -> bool:
        return all((record := fleet.record(id_))["instanceId"] is None and not record["status"] for id_ in doomed)

    await fleet.until_held_by("host-1", "host-2")
    await fleet.until(are_settled, lambda: f"tombstones are settled: {[fleet.record(id_) for id_ in doomed]}")
    await fleet.settle()
    assert {fleet.record(id_)["desired"] for id_ in doomed} == {"removed"}
    assert not doomed & fleet.sockets.opened_since(killed_at).keys()
    assert not [id_ for id_ in doomed if fleet.sockets.open_now()[id_]]
    await fleet.disconnect(*({body["id"] for body in names} - doomed))


async def _owners(fleet: Fleet) -> dict[str, tuple[str, int]]:
    """Owner and epoch of each connection."""
    return {id_: (view["instanceId"], view["epoch"]) for id_, view in (await fleet.views()).items()}


async def _owners_at_rest(fleet: Fleet) -> dict[str, tuple[str, int]]:
    """The same, once nothing moves any more: a host may give away what was too many a moment ago, or be about to."""
    async with asyncio.timeout(PATIENCE_S):
        before: dict[str, tuple[str, int]] = {}
        while (now := await _owners(fleet)) != before or any(map(fleet.is_offered, fleet.ids)):
            before = now
            await asyncio.sleep(REST_S)
    return now
