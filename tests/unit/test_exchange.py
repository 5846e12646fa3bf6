"""A socket that is due is exchanged for a new one, make before break: what a subscriber sees of it, in virtual time."""

from __future__ import annotations

import asyncio

from runtime.adapters.memory.sockets import MemorySocket
from runtime.failure import Failure, FailureKind, classify_status
from runtime.ports import Dial
from tests.unit.exchanges import AGE_S, GOODBYE, OPTIONS, REASON, Feed, blind_gaps, fed, reasons
from tests.unit.world import World
from tests.virtual_time import virtual_time


@virtual_time
async def test_at_its_age_a_socket_is_exchanged_without_a_missing_number_or_a_gap():
    async with fed() as (world, feed):
        await asyncio.sleep(AGE_S - 10)
        assert world.dialer.dials == 1
        await asyncio.sleep(20)
        assert world.dialer.dials == 2
        assert [socket.closed for socket in world.dialer.sockets] == [(1000, "exchanged for a new one"), None]
        feed.check_complete()
        assert world.data("gap") == []
        assert world.statuses() == ["Connecting", "Connected", "Connected"]
        assert reasons(world) == [None, REASON]


@virtual_time
async def test_every_socket_is_exchanged_at_its_age_and_at_no_time_are_there_more_than_two():
    async with fed() as (world, feed):
        most = 0
        for _ in range(5 * AGE_S - 60):
            await asyncio.sleep(1)
            most = max(most, len(feed.open))
        assert world.dialer.dials == 5
        assert (len(feed.open), most <= 2) == (1, True)
        feed.check_complete()
        assert {frame["epoch"] for frame in world.data("frame")} == {(await world.record()).epoch}


@virtual_time
async def test_a_message_that_announces_the_end_has_the_socket_exchanged_at_once():
    async with fed(**GOODBYE) as (world, feed):
        await asyncio.sleep(10)
        feed.open[0].push("goodbye")
        await asyncio.sleep(1)
        assert world.dialer.dials == 2
        await asyncio.sleep(10)
        feed.open[0].push("goodbye")
        await asyncio.sleep(1)
        assert world.dialer.dials == 3
        feed.check_complete()
        assert world.data("gap") == []


@virtual_time
async def test_what_comes_while_the_script_of_the_new_socket_runs_is_published_after_all_of_the_old_one():
    script = [{"data": "subscribe", "expect": {"contains": "welcome"}, "withinS": 30}]
    async with World().running() as world:
        late = []

        def on_dial(socket: MemorySocket) -> None:
            def answer(message: object) -> None:
                socket.push("snapshot")
                delay_s = 0 if len(world.dialer.sockets) <= 1 else 5
                late.append(asyncio.get_running_loop().call_later(delay_s, socket.push, "welcome"))

            socket.on_send = answer

        world.dialer.on_dial = on_dial
        await world.connect(options=OPTIONS | {"openingMessages": script})
        feed = Feed(world)
        running = asyncio.create_task(feed.run())
        await asyncio.sleep(AGE_S + 20)
        running.cancel()
        payloads = world.payloads()
        begin = len(payloads) - payloads[::-1].index("snapshot")
        before, after = payloads[:begin], payloads[begin:]
        last_of_old = max(int(payload) for payload in before if payload.isdigit())
        assert int(after[0]) == last_of_old - 9, "ten numbers came on both while the script ran"
        assert "welcome" in after
        feed.check_complete()
        assert world.data("gap") == []


@virtual_time
async def test_while_the_new_socket_cannot_be_opened_the_old_one_is_read_and_tries_are_spaced():
    async with fed(reconnectBaseDelayS=10, reconnectMaxDelayS=100) as (world, feed):
        world.dialer.failures = [classify_status(503)] * 6
        await asyncio.sleep(AGE_S + 1)
        assert world.dialer.dials == 2
        await asyncio.sleep(600)
        assert (world.dialer.dials, len(feed.open)) == (8, 1)
        feed.check_complete()
        assert world.data("gap") == []
        assert world.statuses() == ["Connecting", "Connected", "Connected"]
        warned = [fields for event, fields in world.observer.warnings if event == "exchange_failed"]
        assert len(warned) == 6
        assert warned[0]["reason"] == "the server answered HTTP 503 to the handshake"


@virtual_time
async def test_a_peer_that_refuses_the_new_socket_for_good_keeps_the_old_one():
    async with fed(refusedAttempts=2) as (world, feed):
        world.dialer.failures = [Failure(FailureKind.REFUSED, "no more than one")] * 9
        await asyncio.sleep(3 * AGE_S)
        assert (world.dialer.dials, len(feed.open)) == (3, 1)
        feed.check_complete()


@virtual_time
async def test_a_script_that_fails_on_the_new_socket_leaves_the_old_one_and_closes_the_new_one():
    script = [{"data": "subscribe", "expect": {"contains": "welcome"}, "withinS": 3}]
    async with World().running() as world:
        answers = iter(["welcome", "nothing", "nothing", "welcome"])

        def on_dial(socket: MemorySocket) -> None:
            answer = next(answers)
            socket.on_send = lambda message: socket.push(answer)

        world.dialer.on_dial = on_dial
        await world.connect(options=OPTIONS | {"openingMessages": script})
        await asyncio.sleep(AGE_S + 60)
        assert [socket.is_open for socket in world.dialer.sockets] == [False, False, False, True]
        assert world.payloads() == ["welcome", "welcome"], "what came on a socket without a turn is not published"
        assert world.data("gap") == []


@virtual_time
async def test_a_peer_that_allows_one_session_has_the_old_socket_closed_first():
    async with fed(overlap=False) as (world, _):
        opened_with = []
        world.dialer.on_dial = lambda socket: opened_with.append(world.dialer.sockets[0].closed)
        await asyncio.sleep(AGE_S + 20)
        assert opened_with == [(1000, "exchanged for a new one")]
        assert len(blind_gaps(world)) == 1


@virtual_time
async def test_without_auto_reconnect_the_age_ends_the_connection():
    async with World().running() as world:
        await world.connect(options=OPTIONS, autoReconnect=False)
        await asyncio.sleep(AGE_S + 20)
        assert (world.dialer.dials, world.statuses()[-1]) == (1, "Disconnected")


@virtual_time
async def test_a_socket_that_is_cut_while_the_new_one_is_dialled_is_dialled_anew_and_only_once():
    async with fed(connectTimeoutS=60) as (world, feed):
        dialled = world.dialer.dials

        async def slowly(dial: Dial) -> None:
            await asyncio.sleep(30 if world.dialer.dials == dialled + 1 else 0)

        world.dialer.before = slowly
        await asyncio.sleep(AGE_S + 10)
        feed.open[0].lose()
        await asyncio.sleep(100)
        assert (world.dialer.dials, len(feed.open)) == (3, 1)
        assert len(blind_gaps(world)) == 1
        assert world.statuses() == ["Connecting", "Connected", "Reconnecting", "Connected"]


@virtual_time
async def test_what_is_held_back_is_bounded_as_the_queue_is_and_given_back():
    script = [{"data": "subscribe", "expect": {"contains": "welcome"}, "withinS": 5}]
    async with World().running() as world:

        def on_dial(socket: MemorySocket) -> None:
            is_first = not world.dialer.sockets[1:]
            socket.on_send = lambda message: socket.push("welcome") if is_first else socket.push(*["x" * 1000] * 50)

        world.dialer.on_dial = on_dial
        options = OPTIONS | {"openingMessages": script, "queueMaxMessages": 10}
        await world.connect(options=options)
        budget = world.host.keepers["a"].queue.budget
        await asyncio.sleep(AGE_S + 1)
        assert 10_000 < budget.held_bytes < 20_000
        await asyncio.sleep(4.2)
        assert budget.held_bytes == 0, "a script that cannot pass is given up in its time, full or not"
        (first, *_) = world.dialer.sockets
        assert first.is_open
