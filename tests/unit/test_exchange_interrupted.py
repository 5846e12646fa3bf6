"""What comes in the middle of an exchange: requests, commands, cuts, in virtual time."""

from __future__ import annotations

import asyncio

import pytest

from runtime.failure import SocketLost, classify_close
from tests.unit.exchanges import GOODBYE, blind_gaps, exchanging, fed
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_request_gets_its_answer_on_the_old_socket_and_what_is_sent_meanwhile_goes_to_the_new_one():
    async with fed(**GOODBYE) as (world, feed):
        old = feed.open[0]
        await world.command("request", id="a", message="question", match={"contains": "answer"}, commandId="r")
        await world.settle()
        old.push("goodbye")
        await world.settle(2)
        await world.command("send", id="a", message="later", commandId="s")
        await world.settle(2)
        assert (old.sent, old.is_open, len(feed.open)) == (["question"], True, 2)
        old.push("the answer")
        await world.settle(2)
        assert (feed.open[0].sent, old.closed) == (["later"], (1000, "exchanged for a new one"))
        ended = {data["commandId"]: data for data in world.data("outcome")}
        assert (ended["r"]["status"], ended["r"]["answer"], ended["s"]["status"]) == ("done", "the answer", "done")
        feed.check_complete()


@virtual_time
async def test_a_request_without_an_answer_does_not_hold_the_exchange_up_for_long():
    async with fed(idleTimeoutS=5, stableAfterS=1, **GOODBYE) as (world, feed):
        await world.command(
            "request", id="a", message="question", match={"contains": "answer"}, timeoutS=60, commandId="r"
        )
        await world.settle()
        feed.open[0].push("goodbye")
        await world.settle(11)
        assert (len(feed.open), world.dialer.dials) == (1, 2), "that it was not read before its turn is no silence"
        assert feed.open[0].sent == ["question"], "what has no answer is sent again on a new socket"
        feed.check_complete()


@pytest.mark.parametrize(("code", "gaps"), [(1001, 0), (None, 1)])
@virtual_time
async def test_a_socket_that_is_cut_when_the_new_one_is_open_is_followed_at_once(code: int | None, gaps: int):
    async with exchanging() as (world, (old, new)):
        old.lose(code)
        await world.settle(2)
        assert (world.dialer.dials, new.is_open) == (2, True)
        assert len(blind_gaps(world)) == gaps, "only of a socket that ends in order all is known to have come"
        assert world.statuses() == ["Connecting", "Connected", "Connected"]


@virtual_time
async def test_a_peer_that_does_not_close_in_order_leaves_a_gap_that_is_announced():
    async with fed(closeTimeoutS=3, **GOODBYE) as (world, feed):
        old = feed.open[0]

        async def close(code: int, reason: str, *, is_read: bool = False) -> None:
            old._inbox.put_nowait(SocketLost(classify_close(None, "")))

        old.close = close  # type: ignore[method-assign]
        await asyncio.sleep(10)
        old.push("goodbye")
        await asyncio.sleep(10)
        assert [gap["reason"] for gap in blind_gaps(world)] == ["closed before all was read"]
        feed.check_complete()


@pytest.mark.parametrize("command", ["disconnect", "reconnect"])
@virtual_time
async def test_a_command_in_the_middle_of_an_exchange_closes_both_sockets_in_order(command: str):
    async with exchanging() as (world, both):
        await world.command(command, id="a")
        await world.settle(5)
        assert [socket.closed for socket in both] == [(1000, ""), (1000, "")]
        assert len(world.dialer.sockets[2:]) == (1 if command == "reconnect" else 0)


@virtual_time
async def test_a_connection_does_not_move_in_the_middle_of_an_exchange():
    async with exchanging() as (world, both):
        keeper = world.host.keepers["a"]
        assert not keeper.can_move
        assert not keeper.could_live_elsewhere
        both[0].push("the answer")
        await world.settle(2)
        assert keeper.can_move


@virtual_time
async def test_a_host_that_may_read_no_longer_cuts_both_sockets():
    async with exchanging() as (world, both):
        world.host.keepers["a"].suspend()
        await world.settle()
        assert [socket.is_open for socket in both] == [False, False]


@virtual_time
async def test_a_request_whose_socket_is_cut_in_the_middle_of_an_exchange_is_sent_again_on_the_new_one():
    async with exchanging() as (world, (old, new)):
        old.lose()
        await world.settle(2)
        assert new.sent == ["question"]
        new.push("the answer")
        await world.settle(2)
        ended = {data["commandId"]: data for data in world.data("outcome")}
        assert (ended["r"]["status"], ended["r"]["answer"]) == ("done", "the answer")
