"""A connection whose socket is due moves to another host: the one does not disturb the other, in virtual time."""

from __future__ import annotations

import asyncio

from runtime.ports import Dial
from tests.unit.moves import blind_gaps, moving
from tests.virtual_time import virtual_time

OPTIONS = {"rotateOn": {"contains": "goodbye"}}


@virtual_time
async def test_a_connection_that_is_handed_over_meanwhile_misses_nothing():
    async with moving(options=OPTIONS) as (cluster, feed, owner, other):
        slow = asyncio.Event()

        async def before(dial: Dial) -> None:
            await slow.wait()

        owner.dialer.before = before
        feed.sockets()[0].push("goodbye")
        await cluster.settle(1)
        owner.host.keepers["a"].hand_over(other.id, 4, lambda: True)
        await cluster.settle(1)
        slow.set()
        await cluster.settle(10)
        assert cluster.holders_of("a") == [other.id]
        assert len(feed.sockets()) == 1
        numbers = [data["payload"] for data in cluster.data("frame")]
        first_arrivals = list(dict.fromkeys(int(number) for number in numbers if number.isdigit()))
        assert first_arrivals == list(range(first_arrivals[0], first_arrivals[-1] + 1))
        assert blind_gaps(cluster) == []


@virtual_time
async def test_no_socket_is_exchanged_while_the_connection_is_on_its_way_to_another_host():
    async with moving(options=OPTIONS) as (cluster, _, owner, other):

        async def slowly(dial: Dial) -> None:
            await asyncio.sleep(2)

        owner.dialer.before = other.dialer.before = slowly
        old = owner.socket_of("a")
        old.push("goodbye")
        await cluster.settle(1)
        owner.host.keepers["a"].hand_over(other.id, 4, lambda: True)
        await cluster.settle(10)
        assert old.closed == (1000, "handed over")
        assert [socket.is_open for socket in owner.dialer.sockets] == [False, False]
