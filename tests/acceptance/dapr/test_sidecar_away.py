"""The host's sidecar or the broker goes away while frames flow, and comes back: what is published is whole."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from runtime.adapters.dapr.publisher import PUBLISH_DEADLINE_S
from tests.acceptance.dapr.stack import Stack, eventually
from tests.acceptance.dapr.streams import Published
from tests.acceptance.feed import SLOTS, FeedProcess, slot_of
from tests.processes import Process

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]

AWAY_S = 20
BROKER_AWAY_S = PUBLISH_DEADLINE_S + 5  # the sidecar tries for itself until then, and nothing has failed for the host
DRAIN_S = 10  # the default of --drain-deadline-s
PATIENT, BOUNDED = 5, 3  # connections whose queue holds all of an absence, and such whose queue does not
BOUND = {"queueMaxMessages": 50, "overflow": "drop_oldest"}


@dataclass
class Fault:
    """How a part goes away and comes back, and for how long; `says`: what the host must log meanwhile."""

    part: Callable[[Stack], Process]
    leave: Callable[[Process], None]
    come_back: Callable[[Process], None]
    away_s: float
    says: tuple[str, ...]


def _sidecar(stack: Stack) -> Process:
    return stack.host.sidecar


def _redis(stack: Stack) -> Process:
    return stack.redis.process


FAULTS = {
    "sidecar-killed": Fault(
        _sidecar, Process.kill, Process.start, AWAY_S, ("sidecar_away", "sidecar_back", "publish_failed")
    ),
    "sidecar-paused": Fault(_sidecar, Process.pause, Process.resume, AWAY_S, ("sidecar_away", "sidecar_back")),
    "redis-killed": Fault(_redis, Process.kill, Process.start, BROKER_AWAY_S, ("publish_failed",)),
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_nothing_is_lost_within_the_bound_and_a_gap_is_announced_beyond_it(
    stack: Stack, feed: FeedProcess, fault: str
):
    how, part = FAULTS[fault], FAULTS[fault].part(stack)
    published = await _connect(stack, feed, fault)
    try:
        await eventually(lambda: len(published.read().numbers) == PATIENT + BOUNDED, "all are heard of")
        said = {event: len(stack.host.app.logged(event)) for event in how.says}
        how.leave(part)
        left_at = time.time()
        id_ = min(published.ids)
        await asyncio.sleep(1)
        stack.mqtt(command="send", id=id_, commandId=f"{fault}-send", message=f"sent while away: {fault}")
        await asyncio.sleep(how.away_s)
        await asyncio.to_thread(how.come_back, part)
        back_at = time.time()
        await eventually(lambda: _last_sent_at(published) > back_at + 1, "what came since is published")
    finally:
        part.resume() if part.is_alive else part.start()
    await eventually(lambda: set(stack.outsider.ends_of(f"{fault}-send")) == {"accepted", "done"}, "the send has ended")
    assert [line for line in feed.told("heard") if line["heard"] == f"sent while away: {fault}"]
    for event in how.says:
        assert len(stack.host.app.logged(event)) > said[event], f"the log of the host does not say {event}"
    await stack.until_up()
    await _forget(stack, published)

    ledger = published.read()
    ledger.check_sequences()
    whole = [id_ for id_ in published.ids if "whole" in id_]
    assert not [id_ for id_ in whole if ledger.numbers[id_].holes]
    assert not ledger.gaps("blind"), "a socket was lost with the sidecar"
    assert {gap["connectionId"] for gap in ledger.gaps("dropped")} == published.ids - set(whole)
    assert all(ledger.numbers[id_].count > how.away_s * 10 for id_ in whole)
    assert back_at - left_at >= how.away_s


async def test_sigterm_with_the_sidecar_alive_publishes_what_was_read_and_closes_with_1001(
    stack: Stack, feed: FeedProcess
):
    published = await _connect(stack, feed, "drained")
    await eventually(lambda: published.read().frames > 10 * len(published.ids), "frames flow")
    longest_way_s = published.read().longest_way_s
    stack.host.sidecar.pause()  # so that the drain has something to do
    try:
        await asyncio.sleep(1)
        asked_at = time.time()
        stack.host.app.send(signal.SIGTERM)
        await eventually(lambda: len(_codes(feed, published)) == len(published.ids), "the sockets are closed")
    finally:
        stack.host.sidecar.resume()
    assert await asyncio.to_thread(stack.host.app.wait_ended) == 0
    assert time.time() - asked_at < DRAIN_S, "the drain took longer than its deadline"
    assert _codes(feed, published) == [1001] * len(published.ids)
    published.read().check_all_published(feed.told("number"), slot_of, asked_at, longest_way_s)

    await stack.heal()
    await stack.until_status("Connected", *published.ids)
    await eventually(lambda: len(published.read().connected()) == 2 * len(published.ids), "each has a new epoch")
    await _forget(stack, published)
    ledger = published.read()
    ledger.check_sequences()
    ledger.check_holes(feed.told("number"), slot_of)
    assert {gap["connectionId"] for gap in ledger.gaps("blind")} == published.ids


async def test_sigterm_with_the_sidecar_dead_ends_within_the_deadline(stack: Stack, feed: FeedProcess):
    published = await _connect(stack, feed, "cut")
    await eventually(lambda: len(published.read().numbers) == PATIENT + BOUNDED, "all are heard of")
    stack.host.sidecar.kill()
    await asyncio.sleep(1)
    asked_at = time.time()
    code = await asyncio.to_thread(stack.host.app.stop, signal.SIGTERM)
    assert code == 0
    assert time.time() - asked_at < DRAIN_S + 5, "the deadline has not ended it"
    assert _codes(feed, published) == [1001] * len(published.ids)

    await stack.heal()
    await stack.until_status("Connected", *published.ids)
    await eventually(lambda: len(published.read().connected()) == 2 * len(published.ids), "each has a new epoch")
    await eventually(lambda: all(_is_fresh(published, id_) for id_ in published.ids), "frames flow again")
    await _forget(stack, published)
    ledger = published.read()
    ledger.check_sequences()
    assert ledger.check_holes(feed.told("number"), slot_of) > 0, "this test has seen nothing lost"


async def test_a_host_that_is_killed_and_started_again_has_a_higher_epoch_and_says_what_it_missed(
    stack: Stack, feed: FeedProcess
):
    published = await _connect(stack, feed, "orphaned")
    await eventually(lambda: len(published.read().numbers) == PATIENT + BOUNDED, "all are heard of")
    stack.host.app.kill()
    await asyncio.sleep(1)
    await stack.heal()
    await eventually(lambda: all(_is_fresh(published, id_) for id_ in published.ids), "frames flow again")
    await stack.until_status("Connected", *published.ids)
    await _forget(stack, published)
    ledger = published.read()
    ledger.check_sequences()
    assert ledger.check_holes(feed.told("number"), slot_of) > 0, "this test has seen nothing lost"
    assert {gap["connectionId"] for gap in ledger.gaps("blind")} == published.ids
    for id_ in published.ids:  # in the order in which they were told
        first, second = [epoch for known, epoch in ledger.connected() if known == id_]
        assert first < second


async def _connect(stack: Stack, feed: FeedProcess, name: str) -> Published:
    """Connections that get numbers, with queues of both kinds."""
    bodies: list[dict[str, Any]] = [
        {
            "id": f"{name}-{'whole' if number < PATIENT else 'bounded'}-{number}",
            "url": feed.url(f"numbers/{number % SLOTS}/{name}"),
            "topic": f"{name}-frames",
            "options": {} if number < PATIENT else BOUND,
        }
        for number in range(PATIENT + BOUNDED)
    ]
    published = Published(stack.stream(f"{name}-frames"), stack.stream(), {body["id"] for body in bodies})
    await stack.connect(*bodies)
    return published


async def _forget(stack: Stack, published: Published) -> None:
    """Disconnect, and wait for all that was said."""
    for id_ in published.ids:
        await stack.outsider.invoke("disconnect", id=id_)

    def ended() -> set[str]:
        statuses = published.read().told("status")
        return {told["connectionId"] for told in statuses if told["status"] == "Disconnected"}

    await eventually(lambda: ended() == published.ids, "all have ended")
    published.read()


def _last_sent_at(published: Published) -> float:
    """When the feed sent what was published last, of the connection that is furthest behind."""
    return min(numbers.sent_at for numbers in published.read().numbers.values())


def _is_fresh(published: Published, id_: str) -> bool:
    """Whether frames of a second epoch have come."""
    return len([epoch for known, epoch in published.read().runs if known == id_]) == 2


def _codes(feed: FeedProcess, published: Published) -> list[int | None]:
    """How the connections were closed, as the feed has seen it."""
    name = published.frames.topic.removesuffix("-frames")
    return [line["closed"] for line in feed.told("closed") if line["path"].endswith(name)]
