"""What `make bench` measures, in short runs: that the rows are there, and what they are made of."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from tests.acceptance.dapr.streams import ask
from tests.bench import (
    blocked,
    embedded,
    failover,
    growth,
    idle,
    latency,
    null,
    quiet,
    rest,
    sidecar,
    storm,
    sweep,
    throughput,
)
from tests.bench.arrivals import Arrivals
from tests.bench.asked import Asked, asked_within
from tests.bench.defaults import DEFAULTS
from tests.bench.on_null import Shape
from tests.bench.references import output_of
from tests.brokers import Broker
from tests.processes import none_left

pytestmark = pytest.mark.integration

SCRIPT = "redis.call('HSET', KEYS[1], 'data', '1') return redis.call('HGET', KEYS[1], 'data')"


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    with none_left():
        yield


SHORT_S = 0.2, 0.3
"""Warm-up and window of a turn."""


async def test_a_short_run_to_a_file_has_all_rows(tmp_path: Path):
    group = await embedded.measure(tmp_path, 1, *SHORT_S)
    rates = [row for row in group.rows if row.unit == "frames/s"]
    assert [row.name.partition(",")[0] for row in rates] == 2 * ["raw", "naive", "manager", "manager"]
    assert sum(row.unit == "µs" for row in group.rows) == 2 * 2
    assert all(row.value > 0 for row in rates)


async def test_a_short_run_to_a_sidecar_counts_what_each_program_has_brought_to_redis(tmp_path: Path):
    group = await throughput.measure(tmp_path, 1, 4, *SHORT_S)
    assert [(row.name, row.reference) for row in group.rows] == list(throughput.PAIRS)
    assert all(row.value > 0 for row in group.rows)


async def test_a_short_run_to_a_null_sidecar_shows_what_it_could_take(tmp_path: Path):
    group = await null.measure(tmp_path, 1, *SHORT_S)
    assert [row.name for row in group.rows] == [null.RAW, null.BATCH, null.PICOWS]
    assert {row.reference for row in group.rows[1:]} == {null.RAW}
    assert group.about["nullCapacity"]
    assert all(row.value > 0 for row in group.rows)


async def test_latency_is_measured_at_half_of_what_the_manager_takes(tmp_path: Path):
    group = await latency.measure(tmp_path, 1, 4, 0.5)
    assert group.about["framesPerSecond"]
    assert [row.reference for row in group.rows] == [None, "bare bulk calls, p50", None, "bare bulk calls, p99"]
    assert all(0 < row.value < 60_000 for row in group.rows)


async def test_a_quiet_connection_is_measured_alone_and_beside_a_flood_of_each_delivery(tmp_path: Path):
    group = await quiet.measure(tmp_path, 1, 0.5)
    names = [f"{name}, p{percent}" for percent in quiet.PERCENTS for name in quiet.FLOODS]
    assert [row.name for row in group.rows] == names
    assert all(0 < row.value < 60_000 for row in group.rows)


async def test_growth_is_measured_at_each_shape_with_more_connections_than_one_floods_at_once(tmp_path: Path):
    shapes = (Shape(101, 50),)
    group = await growth.measure(tmp_path, 1, shapes)
    assert [row.name for row in group.rows] == [f"{kind}, {shape}" for shape in shapes for kind in growth.KINDS]
    assert all(row.value > 0 for row in group.rows)


async def test_a_broker_that_is_blocked_for_a_moment_costs_no_socket_and_no_order(tmp_path: Path):
    group = await blocked.measure(tmp_path, connections=3, blocked_s=2, bound_bytes=4 * blocked.MIB)
    assert {"wrong": 0, "gaps": 0, "lost": 0}.items() <= group.about.items()
    assert group.rows[1].reference == blocked.BOUND


async def test_few_idle_connections_and_a_small_storm_have_all_rows(tmp_path: Path):
    for number, measured in enumerate(
        (idle.measure(tmp_path / "0", connections=20, settling_s=0.2), storm.measure(tmp_path / "1", 20, 1))
    ):
        (tmp_path / str(number)).mkdir()
        assert (await measured).rows


async def test_a_short_run_on_a_sidecar_has_all_rows(tmp_path: Path):
    group = await sidecar.measure(tmp_path, rounds=2, frames=5, connects=2)
    rows = {row.name: row for row in group.rows}
    assert list(rows) == [f"{name}, p{percent}" for name, _, percents in sidecar.ROWS for percent in percents]
    assert all(0 < row.value < 60_000 and row.unit == "ms" for row in group.rows)
    assert {row.reference for row in group.rows} - {None} < set(rows)
    assert rows[f"{sidecar.FRAME}, p50"].reference == f"{sidecar.BARE_PUBLISH}, p50"
    assert rows[f"{sidecar.BY_TOPIC}, p50"].reference == f"{sidecar.BARE_DIAL}, p50"
    assert {"rounds": 2, "framesARound": 5, "connectsARound": 2}.items() <= group.about.items()


async def test_a_short_look_at_rest_counts_what_hosts_read_at_every_beat_and_connections_cost_in_every_pass(
    tmp_path: Path,
):
    group = await rest.measure(tmp_path, sizes=((1, 2), (2, 4)), windows=1, window_s=10)
    rows = {row.name: row for row in group.rows}
    assert len(rows) == 2 * len(rest.KINDS)
    one_pass = 3600 / DEFAULTS.sweep_interval_s
    assert rows[f"1 host with 2, {rest.BY_CONNECTION}"].value == pytest.approx(2 * one_pass)
    a_beat = 3600 / DEFAULTS.heartbeat_interval_s
    assert all(row.value >= a_beat / 2 for name, row in rows.items() if not name.endswith(rest.BY_CONNECTION))
    assert rows[f"2 hosts with 4, {rest.BY_WATCHED}"].reference == f"1 host with 2, {rest.BY_WATCHED}"


async def test_a_short_pass_looks_at_all_records_and_tells_time_memory_and_lag(tmp_path: Path):
    group = await sweep.measure(tmp_path, records=2_500, paced_s=1)
    rows = {row.name: row for row in group.rows}
    assert rows[f"{sweep.FAST}, time"].reference == sweep.FORMULA
    assert rows[sweep.FORMULA].value == 2_500 / DEFAULTS.sweep_rate
    assert rows[f"{sweep.PACED}, worst lag"].value >= rows[f"{sweep.PACED}, lag p99"].value > 0
    assert all(row.value >= 0 for row in group.rows)


async def test_the_loss_of_a_host_is_measured_against_the_formula(tmp_path: Path):
    limits = replace(DEFAULTS, lease_s=3, heartbeat_interval_s=1)
    group = await failover.measure(tmp_path, runs=1, connections=6, limits=limits)
    formula, *rows = group.rows
    assert (formula.name, formula.value) == (failover.FORMULA, 3 + 2 * 1 + 0.006)
    assert [row.reference for row in rows] == [failover.FORMULA] * 3
    fastest, middle, slowest = (row.value for row in rows)
    assert fastest == middle == slowest > 3 - 1 - 0.5, "it was taken for dead before its lease can have run out"
    assert group.about["takenS"] == pytest.approx([middle], abs=0.02)


async def test_a_look_at_redis_counts_each_key_of_the_store_and_nothing_else(redis: Broker):
    async def use() -> None:
        while True:
            for words in (("HGETALL", "statestore||a"), ("EVAL", SCRIPT, "1", "statestore||b"), ("XLEN", "topic")):
                await asyncio.to_thread(ask, redis.port, *words)

    using = asyncio.create_task(use())
    asked = await asyncio.to_thread(asked_within, redis.port, 0.5)
    using.cancel()
    assert set(asked) == {Asked("a", is_write=False), Asked("b", is_write=True)}
    counts = [asked.count(each) for each in set(asked)]
    assert max(counts) - min(counts) <= 1, "what the script does inside is counted too"


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
