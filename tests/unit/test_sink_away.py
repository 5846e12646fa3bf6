"""A broker that is away for a minute, in virtual time: the socket stays, order is kept, and nothing is lost."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from runtime.errors import PublishError
from runtime.models.events import Event
from tests.unit.world import World
from tests.virtual_time import virtual_time


@pytest.mark.parametrize("published", [0, 1])
def test_a_minute_without_a_broker_costs_nothing_but_time(published: int):
    @virtual_time
    async def run():
        async with World().running() as world:
            socket = await world.connect(options={"queueMaxMessages": 10})
            back_at = world.clock.monotonic() + 60
            calls = 0

            async def away(events: Sequence[Event]) -> None:
                nonlocal calls
                if world.clock.monotonic() < back_at:
                    calls += 1
                    arrived = min(published, len(events) - 1)
                    world.publisher.events.extend(events[:arrived])
                    raise PublishError("the broker is away", published=arrived)

            world.publisher.before = away
            socket.push(*(str(number) for number in range(100)))
            await world.settle(59)
            assert socket.is_open
            assert world.host.keepers["a"].life.vitals().queued_messages <= 10  # the rest waits at the peer
            assert calls < 60  # backoff up to 5 s
            await world.settle(10)
            assert world.payloads() == [str(number) for number in range(100)]
            assert [frame["sequence"] for frame in world.data("frame")] == list(range(1, 101))
            assert (world.dialer.dials, world.data("gap")) == (1, [])
            assert world.statuses() == ["Connecting", "Connected"]

    run()
