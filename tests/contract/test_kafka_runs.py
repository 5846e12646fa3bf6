"""On a real Kafka: a call with runs of several connections keeps the order of each, and how fast that is."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest

from runtime.models.events import Event
from tests.contract.publishers import dapr, event
from tests.peers import until

pytestmark = pytest.mark.integration

CONNECTIONS, RUN, CALLS, LANES = 20, 50, 6, 4
PAD = "x" * 200


def runs_of(lane: int, call: int) -> list[Event]:
    """A call of a lane: a run of each of its connections, whose numbers go on from the call before."""
    return [
        event(b'{"number":%d,"pad":"%s"}' % (number, PAD.encode()), subject=f"connection-{lane}-{connection}")
        for connection in range(CONNECTIONS // LANES)
        for number in range(call * RUN, (call + 1) * RUN)
    ]


async def test_runs_arrive_in_the_order_of_their_connections_over_several_lanes_and_partitions(
    request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    async with dapr("kafka", request, tmp_path) as line:
        assert line.publisher.keeps_order

        def arrived() -> list[Event]:
            """Without what the line has published to see whether it works."""
            return [each for each in line.arrived if each.subject.startswith("connection-")]

        async def publish(lane: int) -> None:
            for call in range(CALLS):
                await line.publisher.publish_many(runs_of(lane, call))

        begin = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for lane in range(LANES):
                group.create_task(publish(lane))
        took_s = time.monotonic() - begin
        total = CONNECTIONS * RUN * CALLS
        await until(lambda: len(arrived()) >= total, "all have arrived", patience_s=60)
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    for each in arrived():
        numbers[each.subject].append(int(each.data.split(b":")[1].split(b",")[0]))
    assert len(numbers) == CONNECTIONS
    inversions = sum(b < a for found in numbers.values() for a, b in pairwise(found))
    assert inversions == 0
    assert all(found == list(range(RUN * CALLS)) for found in numbers.values())
    with capsys.disabled():
        sys.stdout.write(
            f"\nKafka, runs of {RUN} in {LANES} lanes: {total / took_s:,.0f} events/s, {inversions} inversions\n"
        )
