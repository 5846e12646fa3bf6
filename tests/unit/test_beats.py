"""The heartbeat that a peer wants to read, the stale feed, and the age of a socket, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from runtime.errors import InvalidInputError
from runtime.failure import FailureKind
from runtime.models.options import WebSocketOptions
from tests.unit.stage import Stage, failure_of, stop
from tests.unit.world import World
from tests.virtual_time import virtual_time

PONG = {"data": "ping", "intervalS": 20, "withinS": 5, "expect": {"contains": "pong"}}


def stage(**options: object) -> Stage:
    return Stage(**{"ping_interval_s": 0, "queue_max_messages": 100, **options})


def answering(peer: Stage, *answers: str) -> None:
    peer.socket.on_send = lambda message: peer.socket.push(*answers)


# ---- heartbeat


@virtual_time
async def test_a_heartbeat_is_sent_at_every_interval_and_needs_no_answer_unless_one_is_expected():
    for data, sent in ((("ping"), "ping"), (("AAE="), b"\x00\x01")):
        peer = stage(heartbeat={"data": data, "binary": isinstance(sent, bytes), "intervalS": 20})
        task = peer.start()
        await asyncio.sleep(101)
        assert peer.socket.sent == [sent] * 5
        await stop(task)


@virtual_time
async def test_the_interval_counts_from_one_heartbeat_to_the_next_however_late_the_answers_are():
    peer = stage(heartbeat=PONG)
    loop = asyncio.get_running_loop()
    began, times = loop.time(), []

    def late(message: object) -> None:
        times.append(loop.time() - began)
        loop.call_later(4, peer.socket.push, "pong")

    peer.socket.on_send = late
    task = peer.start()
    await asyncio.sleep(61)
    assert times == [20, 40, 60]
    await stop(task)


@virtual_time
async def test_without_the_answer_in_time_the_peer_is_dead_though_other_messages_come():
    peer = stage(heartbeat=PONG)
    task = peer.start()
    for _ in range(25):
        await asyncio.sleep(0.99)
        peer.socket.push("news")
    failure = await failure_of(task)
    assert failure.kind is FailureKind.TRANSIENT
    assert failure.reason == "the peer did not answer a heartbeat within 5 s (heartbeat.withinS)"
    assert asyncio.get_running_loop().time() == 1025


@virtual_time
async def test_an_answer_counts_for_one_heartbeat_only():
    peer = stage(heartbeat=PONG)
    peer.socket.on_send = lambda message: peer.socket.push("pong") if len(peer.socket.sent) == 1 else None
    assert (await peer.ends())[0] == 45


@virtual_time
async def test_a_heartbeat_that_the_peer_does_not_take_is_no_sign_of_life():
    peer = stage(heartbeat={"data": "ping", "intervalS": 20})

    async def never(message: object) -> None:
        await asyncio.Event().wait()

    peer.socket.send = never  # type: ignore[method-assign]
    assert await peer.ends() == (40, "the peer did not take a heartbeat within 20 s (heartbeat.intervalS)")


@virtual_time
async def test_answers_are_published_unless_asked_otherwise_and_only_what_answers_is_left_out():
    for publishes, expected in ((True, ["pong 1", "news", "pong 2"]), (False, ["news", "pong 2"])):
        peer = stage(heartbeat=PONG | {"publishAnswers": publishes})
        answering(peer, "pong 1", "news", "pong 2")
        task = peer.start()
        await asyncio.sleep(21)
        assert peer.payloads == expected
        assert peer.session.filtered == (0 if publishes else 1)
        await stop(task)


@virtual_time
async def test_heartbeats_rest_while_the_queue_is_full_and_one_in_flight_accuses_nobody():
    peer = stage(heartbeat=PONG, queue_max_messages=3)
    task = peer.start()
    await asyncio.sleep(21)
    peer.socket.push(*"1234")
    await asyncio.sleep(1000)
    assert (len(peer.socket.sent), task.done()) == (1, False)
    peer.publish()
    peer.socket.push("pong")
    answering(peer, "pong")
    await asyncio.sleep(100)
    peer.publish()
    assert len(peer.socket.sent) > 1
    await stop(task)


@virtual_time
async def test_what_came_before_the_end_is_read_though_a_heartbeat_has_noticed_the_end_first():
    peer = stage(heartbeat=PONG)
    task = peer.start()
    await asyncio.sleep(19)
    peer.socket.is_open = False
    await asyncio.sleep(10)
    assert not task.done()
    peer.socket.push("last words")
    peer.socket.lose(1001, "bye")
    assert "1001: bye" in (await failure_of(task)).reason
    assert peer.payloads == ["last words"]


# ---- stale feed


@virtual_time
async def test_answers_to_heartbeats_and_what_is_dropped_as_noise_do_not_make_a_stale_feed_fresh():
    peer = stage(heartbeat=PONG, dropMatching={"contains": "tick"}, idle_timeout_s=50)
    answering(peer, "pong", "tick")
    assert await peer.ends() == (50, "no message within 50 s (idleTimeoutS)")
    assert peer.payloads == ["pong", "pong"]


@virtual_time
async def test_what_is_not_asked_for_shows_all_the_same_that_the_feed_is_alive():
    peer = stage(onlyMatching={"contains": "rare"}, onlyText=True, idle_timeout_s=50)
    task = peer.start()
    for message in ("common", b"\x00", "rare", "common"):
        await asyncio.sleep(40)
        peer.socket.push(message)
    await asyncio.sleep(49)
    assert not task.done()
    assert (await failure_of(task)).reason == "no message within 50 s (idleTimeoutS)"


# ---- age


@virtual_time
async def test_a_socket_that_has_reached_its_age_is_reported_once_and_goes_on():
    peer = stage(max_age_s=3600)
    told: list[str] = []
    peer.session.on_due = told.append
    task = peer.start()
    await asyncio.sleep(3599)
    assert told == []
    await asyncio.sleep(10000)
    assert told == ["it is 3600 s old (maxAgeS)"]
    assert (peer.socket.closed, task.done()) == (None, False)
    await stop(task)


@virtual_time
async def test_a_message_that_announces_the_end_makes_the_socket_due_and_is_published():
    peer = stage(rotate_on={"pointer": "/event", "equals": "goaway"})
    told: list[str] = []
    peer.session.on_due = told.append
    task = peer.start()
    peer.socket.push('{"event": "news"}', '{"event": "goaway"}', '{"event": "goaway"}')
    await asyncio.sleep(10000)
    assert told == ["a message has announced its end (rotateOn)"]
    assert len(peer.payloads) == 3
    await stop(task)


@virtual_time
async def test_where_nobody_exchanges_it_a_socket_that_is_due_is_closed_in_order_and_read_to_the_end():
    peer = stage(max_age_s=3600)
    task = peer.start()
    await asyncio.sleep(3599.9)
    peer.socket.push("last words")
    failure = await failure_of(task)
    assert failure.kind is FailureKind.TRANSIENT
    assert peer.socket.closed == (1000, "exchanged for a new one")
    assert peer.payloads == ["last words"]


# ---- contradictions


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"heartbeat": PONG | {"withinS": 21}}, r"withinS \(21\) is above intervalS \(20\)"),
        ({"heartbeat": {"data": "x", "intervalS": 20, "withinS": 2}}, "withinS and publishAnswers need expect"),
        ({"heartbeat": {"data": "x", "intervalS": 20, "publishAnswers": False}}, "publishAnswers need expect"),
        ({"heartbeat": PONG, "maxAgeS": 20}, r"heartbeat.intervalS \(20\) must be below maxAgeS \(20\)"),
        ({"maxAgeS": 10}, r"maxAgeS \(10\) must be above stableAfterS \(10\)"),
        ({"maxAgeS": 60, "idleTimeoutS": 60}, r"idleTimeoutS \(60\) must be below maxAgeS \(60\)"),
        ({"idleTimeoutS": 10}, r"idleTimeoutS \(10\) must be above stableAfterS \(10\)"),
        ({"heartbeat": {"data": "x"}}, "heartbeat.intervalS"),
    ],
)
def test_timers_that_contradict_each_other_are_refused_with_both_numbers(options, problem):
    with pytest.raises(InvalidInputError, match=problem):
        WebSocketOptions.read(options)


def test_options_of_equal_heartbeats_are_kept_once():
    condition = {"pointer": "/a", "equals": {"b": [1]}}
    one, other = (WebSocketOptions.read({"heartbeat": PONG | {"expect": condition}}) for _ in range(2))
    assert (hash(one), one) == (hash(other), other)
    assert WebSocketOptions.read(one.to_wire()) == one


@virtual_time
async def test_what_was_read_but_not_understood_is_named():
    async with World().running() as world:
        options = {"heartbeat": PONG | {"every": 3}, "openingMessages": ["a", {"data": "x", "wait": 1}]}
        outcome = await world.command("connect", id="a", url="wss://feed.example", options=options)
        assert "unknown option 'heartbeat.every' was ignored" in str(outcome)
        assert "unknown option 'openingMessages.1.wait' was ignored" in str(outcome)
