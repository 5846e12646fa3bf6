"""One socket's life after the handshake, in virtual time: opening, reading, keepalive, idle timer, and the end."""

from __future__ import annotations

import asyncio

import pytest

from runtime.failure import SocketLost, classify_close
from runtime.host.publisher import DaprPublisher
from tests.unit.stage import Stage, stop
from tests.virtual_time import virtual_time

QUIET = {"ping_interval_s": 0, "idle_timeout_s": 0}


# ---- opening


@virtual_time
async def test_opening_messages_are_sent_in_order():
    stage = Stage(opening_messages=["one", {"data": "AAE=", "binary": True}])
    await stage.session.open()
    assert stage.socket.sent == ["one", b"\x00\x01"]


@virtual_time
async def test_a_peer_that_does_not_take_the_opening_messages_is_given_up():
    stage = Stage(opening_messages=["one", "two"], connect_timeout_s=7)

    async def never(message: object) -> None:
        await asyncio.Event().wait()

    stage.socket.send = never  # type: ignore[method-assign]
    began = asyncio.get_running_loop().time()
    with pytest.raises(SocketLost, match=r"did not take step 1 of 2 .* within 7 s \(connectTimeoutS\)"):
        await stage.session.open()
    assert asyncio.get_running_loop().time() - began == 7


# ---- keepalive


@virtual_time
async def test_without_pong_and_message_the_peer_is_dead():
    stage = Stage(ping_interval_s=20, ping_timeout_s=5)
    stage.socket.answers_pings = False
    assert await stage.ends() == (25, "no pong and no message within 5 s of a ping")


@virtual_time
async def test_a_message_is_as_good_as_a_pong():
    stage = Stage(ping_interval_s=20, ping_timeout_s=5)
    stage.socket.answers_pings = False
    task = stage.start()
    for _ in range(300):
        await asyncio.sleep(1)
        stage.socket.push("x")
        stage.publish()
    assert not task.done()
    assert stage.socket.pings > 10
    await stop(task)


@virtual_time
async def test_a_pong_proves_life():
    stage = Stage(ping_interval_s=20)
    task = stage.start()
    await asyncio.sleep(100.5)
    assert stage.socket.pings == 5
    assert (stage.session.clock.now() - stage.session.alive_at).total_seconds() == 0.5
    await stop(task)


@virtual_time
async def test_no_pings_are_sent_when_switched_off():
    stage = Stage(**QUIET)
    task = stage.start()
    await asyncio.sleep(1000)
    assert stage.socket.pings == 0
    await stop(task)


# ---- idle timer


@virtual_time
async def test_a_feed_whose_first_message_never_comes_is_stale():
    assert await Stage(idle_timeout_s=30).ends() == (30, "no message within 30 s (idleTimeoutS)")


@virtual_time
async def test_every_message_starts_the_idle_timer_anew():
    stage = Stage(idle_timeout_s=30)
    task = stage.start()
    for _ in range(3):
        await asyncio.sleep(29)
        stage.socket.push("x")
        stage.publish()
    await asyncio.sleep(29)
    assert not task.done()
    await asyncio.sleep(2)
    assert task.done()
    with pytest.raises(SocketLost, match="idleTimeoutS"):
        await task


@virtual_time
async def test_both_timers_rest_while_the_queue_is_full():
    stage = Stage(ping_interval_s=20, ping_timeout_s=5, idle_timeout_s=30)
    stage.socket.answers_pings = False
    stage.socket.push(*"1234567")
    task = stage.start()
    await asyncio.sleep(1000)
    assert not task.done()
    assert (stage.socket.pings, len(stage.queue)) == (0, 3)
    stage.publish()
    await asyncio.sleep(19)
    assert not task.done()  # they begin anew
    await stop(task)


@virtual_time
async def test_while_the_queue_is_full_what_the_peer_sends_counts_as_unread():
    stage = Stage()
    task = stage.start()
    await asyncio.sleep(5)
    stage.socket.push("1", "2", "3")
    await asyncio.sleep(7)
    assert (stage.session.clock.now() - stage.session.alive_at).total_seconds() == 7
    stage.publish()
    stage.socket.push("4")
    await asyncio.sleep(0.001)
    assert (stage.session.clock.now() - stage.session.alive_at).total_seconds() < 0.01
    await stop(task)


@virtual_time
async def test_a_ping_that_was_in_flight_when_the_queue_got_full_accuses_nobody():
    stage = Stage(ping_interval_s=20, ping_timeout_s=5)
    stage.socket.answers_pings = False
    task = stage.start()
    await asyncio.sleep(21)
    stage.socket.push(*"1234")
    await asyncio.sleep(100)
    assert (stage.socket.pings, task.done()) == (1, False)
    await stop(task)


# ---- the end


@virtual_time
async def test_what_was_received_before_the_end_is_published_though_a_ping_has_noticed_the_end_first():
    stage = Stage(ping_interval_s=20)

    async def ping() -> None:
        raise SocketLost(classify_close(1000, ""), complete=True)

    stage.socket.ping = ping  # type: ignore[method-assign]
    task = stage.start()
    await asyncio.sleep(19.9)
    stage.socket.push("1", "2")
    await asyncio.sleep(0.2)  # the ping fails here
    stage.socket.push("3", "4", "5")
    stage.socket.lose(1001, "bye")
    await asyncio.sleep(1)
    assert not task.done()
    stage.publish()
    with pytest.raises(SocketLost, match="1001: bye"):
        await task
    stage.publish()
    assert len(stage.published) == 5


@virtual_time
async def test_the_loss_of_the_socket_ends_the_timers_too():
    stage = Stage(idle_timeout_s=30)
    before = len(asyncio.all_tasks())
    stage.socket.lose(1012, "restart")
    assert await stage.ends() == (0, "the peer closed with 1012: restart")
    assert len(asyncio.all_tasks()) == before


@pytest.mark.parametrize("moment", range(8))
def test_a_cancellation_that_meets_a_loss_is_not_lost(moment):
    """A keeper that cancels must get its way: swallowed, the connection would be dialled again instead of let go."""

    @virtual_time
    async def run():
        stage = Stage(idle_timeout_s=30)
        task = stage.start()
        await asyncio.sleep(0.001)
        stage.socket.lose()
        for _ in range(moment):
            await asyncio.sleep(0)
        if task.cancel():
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            with pytest.raises(SocketLost):
                await task
        assert len(asyncio.all_tasks()) == 1

    run()


@virtual_time
async def test_a_cancellation_ends_every_part():
    for options in ({"idle_timeout_s": 30}, QUIET):
        task = Stage(**options).start()
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(asyncio.all_tasks()) == 1


@virtual_time
async def test_a_mistake_of_ours_is_not_taken_for_a_lost_socket(monkeypatch: pytest.MonkeyPatch):
    stage = Stage()

    def mistake(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(DaprPublisher, "publish", mistake)
    stage.socket.push("x")
    with pytest.raises(ZeroDivisionError):
        await stage.session.run()


@virtual_time
async def test_a_message_without_a_topic_is_counted_and_not_queued():
    stage = Stage()
    stage.session.topic = None
    stage.socket.push("x", "y")
    stage.socket.lose()
    await stage.ends()
    assert (stage.session.unpublished, len(stage.queue)) == (2, 0)
