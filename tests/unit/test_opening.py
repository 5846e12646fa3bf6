"""The opening script, in virtual time: what is sent when, what has to come back, and what a failure means."""

from __future__ import annotations

import asyncio

import pytest

from runtime.errors import InvalidInputError
from runtime.failure import FailureKind, SocketLost
from runtime.models.options import WebSocketOptions
from tests.unit.stage import Stage, failure_of, stop
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time

LOGIN = {"data": "login", "expect": {"pointer": "/ok", "equals": True}, "refusedBy": {"pointer": "/error"}}
QUIET = {"ping_interval_s": 0}


def stage(*steps: object, **options: object) -> Stage:
    return Stage(**{"openingMessages": steps, "queue_max_messages": 100, **options})


def opened(peer: Stage) -> asyncio.Task[None]:
    return asyncio.create_task(peer.session.open())


async def moment() -> None:
    await asyncio.sleep(0.01)


# ---- order and answers


@virtual_time
async def test_a_step_is_sent_when_the_one_before_it_has_been_answered():
    peer = stage(LOGIN, "subscribe")
    task = opened(peer)
    await asyncio.sleep(5)
    assert peer.socket.sent == ["login"]
    peer.socket.push('{"ok": true}')
    await task
    assert peer.socket.sent == ["login", "subscribe"]


@pytest.mark.parametrize(
    ("expect", "other", "answer"),
    [
        ({"contains": "welcome"}, "hello", "you are welcome"),
        ({"pointer": "/id", "equals": 7}, '{"id": 8}', '{"id": 7}'),
        ({"pointer": "/id"}, '{"id": null}', '{"id": 0}'),
        ({"regex": "^session-[0-9]+$"}, "session-x", "session-42"),
        ({"contains": "welcome"}, b"\x00hello", b"\x00welcome"),
    ],
)
def test_only_the_expected_message_ends_a_step(expect, other, answer):
    @virtual_time
    async def run():
        peer = stage({"data": "x", "expect": expect})
        task = opened(peer)
        peer.socket.push(other)
        await asyncio.sleep(5)
        assert not task.done()
        peer.socket.push(answer)
        await task

    run()


@virtual_time
async def test_what_comes_meanwhile_is_published_as_usual_and_so_are_the_answers():
    peer = stage(LOGIN, {"data": "subscribe", "expect": {"contains": "done"}})
    task = opened(peer)
    peer.socket.push("news", '{"ok": true}')
    await moment()
    peer.socket.push("more", "done")
    await task
    assert peer.payloads == ["news", '{"ok": true}', "more", "done"]


@virtual_time
async def test_a_step_may_wait_for_what_the_peer_says_of_its_own_accord():
    peer = stage({"expect": {"contains": "hello"}}, "login")
    task = opened(peer)
    await moment()
    assert peer.socket.sent == []
    peer.socket.push("hello")
    await task
    assert peer.socket.sent == ["login"]


@virtual_time
async def test_what_two_steps_wait_for_may_come_in_one_read():
    peer = stage({"expect": {"contains": "hello"}}, {"expect": {"contains": "ready"}}, "go")
    task = opened(peer)
    await moment()
    peer.socket.push("hello", "ready")
    await task
    assert peer.socket.sent == ["go"]


@virtual_time
async def test_an_answer_that_comes_before_the_question_has_left_is_heard():
    peer = stage({"data": "login"}, {"expect": {"contains": "in"}}, {"data": "subscribe", "expect": {"contains": "on"}})
    peer.socket.on_send = lambda message: peer.socket.push({"login": "in", "subscribe": "on"}[str(message)])
    slow, send = asyncio.Event(), peer.socket.send

    async def reluctantly(message: str | bytes) -> None:
        await send(message)
        await slow.wait()

    peer.socket.send = reluctantly  # type: ignore[method-assign]
    task = opened(peer)
    await moment()
    assert peer.payloads == ["in"]
    slow.set()
    await task


@virtual_time
async def test_a_message_for_which_there_is_no_room_yet_ends_one_step_only():
    peer = stage({"expect": {"contains": "a"}}, {"expect": {"contains": "a"}}, queue_max_messages=1)
    peer.socket.push("x")
    task = opened(peer)
    await moment()
    peer.socket.push("a")
    for _ in range(5):
        await asyncio.sleep(1)
        peer.publish()
    assert not task.done()
    await stop(task)


@virtual_time
async def test_an_answer_from_before_the_question_does_not_count():
    peer = stage({"data": "a", "expect": {"contains": "a"}}, {"data": "b", "expect": {"contains": "ok"}})
    peer.socket.push("ok", "a")
    task = opened(peer)
    await asyncio.sleep(1)
    assert peer.socket.sent == ["a", "b"]
    assert not task.done()
    peer.socket.push("ok")
    await task


@virtual_time
async def test_between_two_messages_there_is_a_pause_if_asked_for():
    peer = stage("a", "b", "c", opening_delay_s=2)
    times: list[float] = []
    began = asyncio.get_running_loop().time()
    peer.socket.on_send = lambda message: times.append(asyncio.get_running_loop().time() - began)
    await peer.session.open()
    assert times == [0, 2, 4]


# ---- failures


@virtual_time
async def test_an_answer_that_says_no_is_a_refusal_and_names_the_step():
    peer = stage("hello", LOGIN)
    task = opened(peer)
    await moment()
    peer.socket.push('{"error": "the token secret-token is wrong"}')
    failure = await failure_of(task)
    assert (failure.kind, failure.reason) == (
        FailureKind.REFUSED,
        "the peer refused step 2 of 2 of the opening script (refusedBy)",
    )


@virtual_time
async def test_a_refusal_counts_also_if_the_peer_hangs_up_right_after_it():
    peer = stage(LOGIN)
    task = opened(peer)
    await moment()
    peer.socket.push('{"error": 1}')
    peer.socket.lose(1000, "")
    assert (await failure_of(task)).kind is FailureKind.REFUSED


@pytest.mark.parametrize(("within", "limit", "name"), [({"withinS": 3}, 3, "withinS"), ({}, 7, "connectTimeoutS")])
def test_no_answer_in_time_is_a_transient_failure(within, limit, name):
    @virtual_time
    async def run():
        peer = stage(LOGIN | within, connect_timeout_s=7)
        began = asyncio.get_running_loop().time()
        task = opened(peer)
        peer.socket.push("news")
        failure = await failure_of(task)
        assert failure.kind is FailureKind.TRANSIENT
        assert failure.reason == f"no message ended step 1 of 1 of the opening script within {limit} s ({name})"
        assert asyncio.get_running_loop().time() - began == limit

    run()


@virtual_time
async def test_while_the_queue_is_full_nothing_is_read_so_no_answer_is_missed():
    peer = stage(LOGIN, connect_timeout_s=7, queue_max_messages=2)
    task = opened(peer)
    peer.socket.push("1", "2", "3", '{"ok": true}')
    await asyncio.sleep(100)
    assert not task.done()
    peer.publish()
    await task


@virtual_time
async def test_a_socket_that_is_lost_meanwhile_tells_why_after_all_was_read():
    peer = stage(LOGIN)
    task = opened(peer)
    peer.socket.push("last words")
    peer.socket.lose(1008, "who are you")
    failure = await failure_of(task)
    assert (failure.kind, failure.reason) == (FailureKind.REFUSED, "the peer closed with 1008: who are you")
    assert peer.payloads == ["last words"]


@virtual_time
async def test_a_send_that_fails_leaves_the_word_to_the_reader():
    peer = stage("a")
    peer.socket.is_open = False
    task = opened(peer)
    await asyncio.sleep(1)
    peer.socket.push("last words")
    peer.socket.lose(1012, "restart")
    assert "1012: restart" in (await failure_of(task)).reason
    assert peer.payloads == ["last words"]


@virtual_time
async def test_a_send_that_fails_ends_the_script_even_if_the_reader_says_nothing():
    peer = stage("a")
    peer.socket.is_open = False
    assert "1006" in (await failure_of(opened(peer))).reason


@virtual_time
async def test_every_end_leaves_no_task_behind():
    async def passes(peer: Stage) -> None:
        peer.socket.push('{"ok": true}')
        reading = opened(peer)
        await asyncio.sleep(1)
        assert reading.done()
        running = peer.start()
        await asyncio.sleep(1)
        await stop(running)

    async def is_cancelled(peer: Stage) -> None:
        await stop(opened(peer))

    async def is_late(peer: Stage) -> None:
        with pytest.raises(SocketLost):
            await peer.session.open()

    for end in (passes, is_cancelled, is_late):
        await end(stage(LOGIN, **QUIET))
        assert len(asyncio.all_tasks()) == 1


@virtual_time
async def test_the_timers_begin_when_the_script_has_passed():
    peer = stage("a", "b", opening_delay_s=50, idle_timeout_s=30)
    await peer.session.open()
    assert await peer.ends() == (30, "no message within 30 s (idleTimeoutS)")


# ---- in a life


@virtual_time
async def test_the_connection_is_connected_when_the_script_has_passed_and_it_runs_again_after_each_dial():
    async with World().running() as world:
        socket = await world.connect(options={"openingMessages": [LOGIN]})
        socket.push("early")
        await world.settle()
        assert world.statuses() == ["Connecting"]
        assert world.payloads() == ["early"]
        socket.push('{"ok": true}')
        await world.settle()
        assert world.statuses() == ["Connecting", "Connected"]
        socket.lose(1001, "bye")
        await world.settle(5)
        again = world.dialer.sockets[-1]
        assert (again is not socket, again.sent) == (True, ["login"])
        assert world.statuses()[-1] == "Reconnecting"
        again.push('{"ok": true}')
        await world.settle()
        assert world.statuses()[-1] == "Connected"


@virtual_time
async def test_a_script_that_is_refused_again_and_again_ends_the_connection_as_a_refused_handshake_would():
    async with World().running() as world:
        world.dialer.on_dial = lambda socket: socket.push('{"error": 1}')
        await world.connect(options={"openingMessages": [LOGIN], "refusedAttempts": 2, "reconnectAttempts": 0})
        await world.settle(100)
        assert (len(world.dialer.sockets), world.statuses()[-1]) == (2, "Disconnected")
        assert "refused step 1 of 1 of the opening script" in ((await world.record()).last_error or "")


@virtual_time
async def test_the_gap_ends_when_the_new_socket_is_read_not_when_its_script_has_passed():
    async with World().running() as world:
        socket = await world.connect(options={"openingMessages": [LOGIN]})
        socket.push('{"ok": true}')
        await world.settle()
        socket.lose(1001, "bye")
        await world.settle(2)
        again = world.dialer.sockets[-1]
        read_from = world.clock.now()
        again.push("heard before Connected")
        await world.settle(5)
        again.push('{"ok": true}')
        await world.settle()
        gap = world.data("gap")[-1]
        assert gap["toTime"] <= read_from.isoformat().replace("+00:00", "Z")


@virtual_time
async def test_a_topic_that_is_set_while_the_script_runs_holds_from_the_next_message():
    async with World().running() as world:
        socket = await world.connect(topic=None, options={"openingMessages": [LOGIN]})
        socket.push("1")
        await world.settle()
        assert (await world.command("connection", id="a"))["framesWithoutTopic"] == 1
        await world.command("startPublish", id="a", topic="t2")
        await world.settle()
        socket.push("2")
        await world.settle()
        assert world.payloads() == ["2"]


@virtual_time
async def test_a_topic_that_is_set_while_it_is_dialled_holds_from_the_first_message():
    async with World().running() as world:
        reached = asyncio.Event()

        async def slowly(dial: object) -> None:
            reached.set()
            await asyncio.sleep(5)

        world.dialer.before = slowly
        world.dialer.on_dial = lambda socket: socket.push("1", '{"ok": true}')
        body = {"id": "a", "url": URL, "topic": None, "options": {"openingMessages": [LOGIN]}}
        await world.command("connect", **body)
        await reached.wait()
        await world.command("startPublish", id="a", topic="t2")
        await world.settle(6)
        assert world.payloads() == ["1", '{"ok": true}']


# ---- what may be asked for


@pytest.mark.parametrize(
    "steps",
    [
        ["a", {"data": "AAE=", "binary": True}],
        [{"data": "a", "expect": {"contains": "b"}, "withinS": 3}],
        [{"expect": {"regex": "x"}}],
    ],
)
def test_scripts_are_read_back_as_they_were_written(steps):
    options = WebSocketOptions.read({"openingMessages": steps})
    assert WebSocketOptions.read(options.to_wire()) == options


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        ({}, "a step has data to send, or a message to expect, or both"),
        ({"data": "a", "withinS": 3}, "refusedBy and withinS need expect"),
        ({"data": "a", "refusedBy": {"contains": "no"}}, "refusedBy and withinS need expect"),
        ({"data": "a", "expect": {}}, "give at least one of pointer, contains and regex"),
        ({"data": "a", "expect": {"equals": 1}}, "equals needs a pointer"),
        ({"data": "?", "binary": True}, "must be base64"),
    ],
)
def test_a_step_that_makes_no_sense_is_refused(step, problem):
    with pytest.raises(InvalidInputError, match=problem):
        WebSocketOptions.read({"openingMessages": [step]})
