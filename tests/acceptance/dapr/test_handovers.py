"""Connections of a fleet that move from host to host while numbers come: none is missing."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.acceptance.dapr.fleet import ARGS, BUSY_S, HOSTS, LEASE_S, Fleet
from tests.acceptance.dapr.stack import make_host
from tests.sidecar import COMPONENTS
from tests.wsm import wsm

FAIR_S = 20  # for a host that is up to have its share: it is looked at every two heartbeats

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]


async def test_a_host_that_stops_in_order_hands_all_over_and_no_number_is_missing(fleet: Fleet):
    theirs, epochs, asked_at = await fleet.owned_by("host-2"), dict(fleet.ledger.newest), time.time()
    assert await asyncio.to_thread(fleet["host-2"].app.stop) == 0
    await fleet.until_held_by("host-1", "host-3")
    await fleet.until_fresh()
    fleet.check_whole()
    assert fleet.sockets.closed_since(asked_at).keys() >= theirs
    told = {each["connectionId"]: each for each in fleet.ledger.told("handover") if each["instanceId"] == "host-2"}
    assert told.keys() == theirs
    for id_, handover in told.items():
        last = fleet.ledger.runs[id_, epochs[id_]].last
        assert (handover["isComplete"], handover["epoch"], handover["lastSequence"]) == (True, epochs[id_], last), id_


async def test_a_host_that_joins_gets_its_fair_share_by_handovers_and_gives_it_back_when_it_stops(fleet: Fleet):
    await fleet.add("host-4")
    await fleet.until_held_by(*HOSTS, "host-4", is_fair=True, patience_s=FAIR_S)
    await fleet.until_fresh()
    fleet.check_whole()
    await fleet.remove("host-4")
    await fleet.until_held_by(*HOSTS)
    await fleet.until_fresh()
    fleet.check_whole()


async def test_all_hosts_restarted_one_by_one_lose_no_number(fleet: Fleet):
    for host in HOSTS:
        assert await asyncio.to_thread(fleet[host].app.stop) == 0
        await asyncio.to_thread(fleet[host].app.start)
        await fleet[host].until_up()
    await fleet.until_held_by(*HOSTS)
    await fleet.until_fresh()
    fleet.check_whole()


async def test_a_host_that_is_told_to_drain_moves_all_away_and_the_list_of_hosts_says_so(fleet: Fleet):
    port = fleet.stack.handlers.sidecar.http_port
    said = await asyncio.to_thread(wsm, "drain", "host-2", port=port)
    assert said.code == 0, said.stderr
    await fleet.until_held_by("host-1", "host-3")
    await fleet.until_fresh()
    fleet.check_whole()

    async def is_empty() -> bool:
        return (await fleet.instance("host-2"))["load"] == 0

    await fleet.until(is_empty, lambda: "the lease says that the host holds nothing")
    shown = await asyncio.to_thread(wsm, "instances", port=port)
    (line,) = [line for line in shown.stdout.splitlines() if line.startswith("host-2 ")]
    assert "draining" in line
    assert " 0/" in line
    assert fleet["host-2"].app.is_alive


async def test_a_peer_that_takes_one_session_never_sees_two_and_the_break_is_announced(fleet: Fleet):
    bodies = [fleet.body(number, "single", options={"overlap": False}) for number in range(30)]
    singles = {body["id"] for body in bodies}
    await fleet.connect(*bodies)
    await fleet.until_held_by(*HOSTS)
    theirs = await fleet.owned_by("host-1") & singles
    assert theirs, "none of them came to the host"
    await fleet.until_fresh()
    fleet.read().begin_anew()
    asked_at = time.time()
    assert await asyncio.to_thread(fleet["host-1"].app.stop) == 0
    ended_at = time.time()
    await fleet.until_held_by("host-2", "host-3")
    await fleet.until_fresh()
    fleet.check()
    fleet.check_gaps(theirs, asked_at - 1, ended_at + BUSY_S)
    assert max(fleet.sockets.most_at_once(id_) for id_ in singles) == 1
    await fleet.disconnect(*singles)


async def test_a_second_process_under_the_id_of_a_host_ends_with_a_word_and_disturbs_nobody(
    fleet: Fleet, tmp_path: Path
):
    stack, began_at = fleet.stack, time.time()
    env = {**stack.redis.env, **stack.mosquitto.env, "SECRETS_FILE": str(stack.folder / "secrets.json")}
    second = make_host("host-1", tmp_path, COMPONENTS / "local", env, *ARGS)
    try:
        second.spawn()
        assert await asyncio.to_thread(second.app.wait_ended) == 1
        assert "error: another process runs under the instance id 'host-1'" in second.app.tail()
    finally:
        second.kill()
    await fleet.until_held_by(*HOSTS)
    await fleet.until_fresh()
    fleet.check_whole()
    assert not fleet.sockets.closed_since(began_at)


async def test_the_next_process_under_the_id_of_a_killed_one_waits_for_its_lease_and_joins(fleet: Fleet):
    theirs, killed_at = await fleet.owned_by("host-3"), time.time()
    app = fleet["host-3"].app
    app.kill()
    last_word = fleet.last_word("host-3")
    await asyncio.to_thread(app.start)
    await fleet.until_held_by(*HOSTS, is_fair=True)
    await fleet.until_fresh()
    fleet.check()
    fleet.check_gaps(theirs, last_word, killed_at + LEASE_S + BUSY_S)
    (waited,) = app.logged("waiting_for_predecessor")
    assert (waited["instance"], waited["at_most_s"]) == ("host-3", LEASE_S)
