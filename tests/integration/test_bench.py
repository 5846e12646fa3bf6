"""What `make bench` measures on a sidecar, in a short run: that the rows are there, and what they are made of."""

from __future__ import annotations

import subprocess
from pathlib import Path

import orjson
import psutil
import pytest

from tests.acceptance.dapr.streams import ask
from tests.bench import sidecar
from tests.bench.arrivals import Arrivals
from tests.bench.references import output_of
from tests.brokers import Broker

pytestmark = pytest.mark.integration


async def test_a_short_run_on_a_sidecar_has_all_rows_and_leaves_nothing_behind(tmp_path: Path):
    before = set(psutil.Process().children(recursive=True))
    group = await sidecar.measure(tmp_path, rounds=2, frames=5, connects=2)
    rows = {row.name: row for row in group.rows}
    assert list(rows) == [f"{name}, p{percent}" for name, _, percents in sidecar.ROWS for percent in percents]
    assert all(0 < row.value < 60_000 and row.unit == "ms" for row in group.rows)
    assert {row.reference for row in group.rows} - {None} < set(rows)
    assert rows[f"{sidecar.FRAME}, p50"].reference == f"{sidecar.BARE_PUBLISH}, p50"
    assert rows[f"{sidecar.BY_TOPIC}, p50"].reference == f"{sidecar.BARE_DIAL}, p50"
    assert {"rounds": 2, "framesARound": 5, "connectsARound": 2}.items() <= group.about.items()
    assert set(psutil.Process().children(recursive=True)) <= before


async def test_arrivals_are_what_enters_a_stream_from_now_on_in_its_order(redis: Broker):
    _add(redis, "arrivals", 1)
    arrivals = Arrivals(redis.port, "arrivals")
    for number in (2, 3, 4, 5):
        _add(redis, "arrivals", number)
    first, second = await arrivals.take(2)
    assert (first.event["data"]["number"], second.event["data"]["number"]) == (2, 3)
    assert await arrivals.until(number=5, even=False) >= first.at


async def test_a_stream_that_is_not_there_yet_may_be_waited_for(redis: Broker):
    arrivals = Arrivals(redis.port, "arrivals-later")
    _add(redis, "arrivals-later", 1)
    (only,) = await arrivals.take(1)
    assert only.event["data"] == {"number": 1, "even": False}


async def test_a_reference_that_fails_ends_the_run_instead_of_being_a_figure():
    with pytest.raises(subprocess.CalledProcessError):
        await output_of("bare_dial", "ws://127.0.0.1:1/", "1", "50")


def _add(redis: Broker, topic: str, number: int) -> None:
    data = orjson.dumps({"data": {"number": number, "even": number % 2 == 0}})
    ask(redis.port, "XADD", topic, "*", "data", data)
