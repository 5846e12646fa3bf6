"""The figures of `make bench`: how rows are made, and the two forms in which they are told."""

from __future__ import annotations

import json
from io import StringIO
from itertools import pairwise
from pathlib import Path

import pytest
from dapr.proto.runtime.v1.pubsub_pb2 import BulkPublishRequest, BulkPublishRequestEntry, PublishEventRequest
from rich.console import Console

from tests.bench import failover, rest, sweep
from tests.bench.asked import Asked, read, windows_of
from tests.bench.bench import GROUPS, LONG, main
from tests.bench.defaults import DEFAULTS
from tests.bench.null_sidecar import Null
from tests.bench.table import Group, against, alone, as_json, as_table, percentile
from tests.bench.turns import Lines, Told


def test_a_ratio_is_the_median_of_the_rounds_and_each_is_against_the_reference_of_its_own_round():
    row = against("manager, p50", "ms", [2, 30, 4], "bare, p50", [1, 10, 4])
    assert (row.value, row.ratio, row.spread) == (4, 2, (1, 3))
    assert (row.name, row.unit, row.reference) == ("manager, p50", "ms", "bare, p50")


def test_a_round_without_its_reference_is_an_error():
    with pytest.raises(ValueError, match="zip"):
        against("manager", "ms", [1, 2], "bare", [1])


def test_a_reference_spreads_around_its_own_median():
    row = alone("bare", "ms", [8, 10, 15])
    assert (row.value, row.reference, row.ratio, row.spread) == (10, None, 1, (0.8, 1.5))


def test_a_percentile_has_that_many_percent_of_the_values_below_it():
    values = list(range(101))
    assert [percentile(values, percent) for percent in (1, 50, 99)] == [1, 50, 99]


def test_the_table_tells_unit_reference_and_spread_of_each_row():
    out = StringIO()
    rows = [alone("raw, p50", "frames/s", [200_000]), against("manager, p50", "ms", [3], "raw, p50", [2])]
    Console(file=out, width=120).print(as_table(Group("a title", rows)))
    text = " ".join(out.getvalue().split())
    assert "a title" in text
    assert "│ raw, p50 │ 200,000 frames/s │ │ 1.00 to 1.00 │" in text
    assert "│ manager, p50 │ 3.00 ms │ 1.50 of raw │ 1.50 to 1.50 │" in text


def test_the_json_holds_the_rows_of_all_groups_and_how_each_group_was_measured():
    first = Group("one", [alone("raw", "frames/s", [1])], {"rounds": 5})
    second = Group("two", [against("frame, p99", "ms", [3.0004], "bare, p99", [2])], {"rounds": 7})
    assert as_json({"cores": 2}, {"a": first, "b": second}) == {
        "meta": {"cores": 2, "a": {"rounds": 5}, "b": {"rounds": 7}},
        "results": [
            {"name": "raw", "value": 1, "unit": "frames/s", "reference": None, "ratio": 1, "spread": (1, 1)},
            {
                "name": "frame, p99",
                "value": 3,
                "unit": "ms",
                "reference": "bare, p99",
                "ratio": 1.5,
                "spread": (1.5, 1.5),
            },
        ],
    }


class Measured:
    """A group that takes no time."""

    def __init__(self, name: str) -> None:
        self.name, self.calls = name, 0

    async def measure(self, folder: Path) -> Group:
        assert folder.is_dir()
        self.calls += 1
        return Group(f"title of {self.name}", [alone(self.name, "ms", [1])], note=f"note of {self.name}")


def test_only_measures_the_groups_that_are_asked_for_once_each(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    a, b = Measured("a"), Measured("b")
    path = tmp_path / "figures.json"
    main(["--only", "b", "--only", "b", "--json", str(path)], {"a": a.measure, "b": b.measure})
    assert (a.calls, b.calls) == (0, 1)
    told = json.loads(path.read_text())
    assert [row["name"] for row in told["results"]] == ["b"]
    assert told["meta"]["b"] == {"tookS": 0}
    printed = capsys.readouterr().out
    assert "title of b" in printed
    assert "note of b" in printed


def test_without_only_all_groups_are_measured():
    a, b = Measured("a"), Measured("b")
    main([], {"a": a.measure, "b": b.measure})
    assert (a.calls, b.calls) == (1, 1)


def test_a_long_group_is_measured_only_when_asked_for_and_else_named(capsys: pytest.CaptureFixture[str]):
    short, long = Measured("short"), Measured("long")
    groups = {"a": short.measure, "b": long.measure}
    main([], groups, {"b"})
    assert (short.calls, long.calls) == (1, 0)
    assert "Not measured, since it takes long: b." in capsys.readouterr().out
    main(["--only", "b"], groups, {"b"})
    assert (short.calls, long.calls) == (1, 1)
    assert "Not measured" not in capsys.readouterr().out
    assert GROUPS.keys() >= LONG


def test_an_unknown_group_is_refused_with_the_names_of_those_that_there_are(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "c"], {"a": Measured("a").measure, "b": Measured("b").measure})
    told = capsys.readouterr().err
    assert "'c'" in told
    assert "{a,b}" in told


def entry(event: bytes) -> BulkPublishRequestEntry:
    return BulkPublishRequestEntry(entry_id="0", event=event, content_type="application/json", metadata={"a": "b"})


async def test_the_null_sidecar_counts_events_and_the_envelopes_in_them_by_a_look_at_both_ends():
    null = Null()
    filling = b'"' + 300 * b"x" + b'"'
    batch = b'{"id":"c.1.8-11","data":[{"sequence":8,"payload":%b},{"sequence":9},{"sequence":11}]}' % filling
    entries = [entry(b'{"data":{"payload":"x","sequence":7,"contentType":"t"}}'), entry(b'{"data":{}}'), entry(batch)]
    request = BulkPublishRequest(pubsub_name="p", topic="t", entries=entries, metadata={"rawPayload": "true"})
    await null.publish_bulk(request.SerializeToString(), None)
    assert (null.events, null.envelopes) == (3, 1 + 0 + 4)
    await null.publish(PublishEventRequest(topic="t", data=batch).SerializeToString(), None)
    assert (null.events, null.envelopes) == (4, 5 + 4)


async def test_a_program_is_counted_by_the_whole_lines_of_its_file(tmp_path: Path):
    path = tmp_path / "out"
    path.write_bytes(b"1000\n2000\n30")
    lines, told = Lines(path), Told(path)
    first = await lines.mark()
    assert await told.mark() == 2000
    with path.open("ab") as file:
        file.write(b"00\n4000\n")
    assert await told.mark() == 4000
    assert lines.between(first, await lines.mark()) == 2


def test_of_what_redis_shows_the_calls_from_outside_for_keys_of_the_store_are_read():
    lines = [
        b"+OK",
        rb'+1.5 [0 127.0.0.1:38080] "HGETALL" "statestore||websocket-index"',
        rb'+1.6 [0 127.0.0.1:38080] "EVAL" "\n\tcall(\"HGET\")" "1" "statestore||websocket-a" "1" "{\"id\":1}"',
        rb'+1.6 [0 lua] "HGET" "statestore||websocket-a" "version"',
        rb'+1.7 [0 127.0.0.1:38080] "hello" "3"',
        rb'+1.7 [0 127.0.0.1:38080] "XADD" "websocket-events" "*" "data" "x"',
        rb'+1.8 [0 127.0.0.1:38080] "DEL" "statestore||websocket-b"',
        b"+1.9 [0 127.0",
    ]
    assert read(lines) == [
        Asked("websocket-index", is_write=False),
        Asked("websocket-a", is_write=True),
        Asked("websocket-b", is_write=True),
    ]


@pytest.mark.parametrize("late_s", [(0, 0.03, 0.01, 0.02), tuple(beat * 7 % 13 / 50 for beat in range(13))])
def test_windows_are_cut_where_least_happens_so_that_what_comes_at_every_beat_is_in_each_equally_often(
    late_s: tuple[float, ...],
):
    asked = [
        Asked(key, is_write=False, at=1000.01 + 5 * beat + after + late_s[beat % len(late_s)])
        for beat in range(13)
        for key, after in (("a", 0), ("b", 0.4))
    ]
    cut = windows_of(asked, 3, 15, 5)
    assert [len(window) for window in cut] == [6, 6, 6]
    assert all(before[-1].at < after[0].at for before, after in pairwise(cut))
    with pytest.raises(AssertionError, match="nothing was asked at the end"):
        windows_of(asked, 5, 15, 5)


def test_the_cost_of_rest_is_told_apart_by_host_lease_and_connection_and_passes_count_as_often_as_by_default():
    hosts, connections, window_s, beats, passes = 3, 30, 10, 2, 2
    beat = [Asked("websocket.instance.x", is_write=False), Asked("websocket.instance.x", is_write=True)]
    look = [Asked("websocket.instances", is_write=False)] + hosts * [Asked("websocket.instance.y", is_write=False)]
    vitals = [Asked("websocket.vitals.x", is_write=True)]
    one_pass = [Asked("websocket-index", is_write=False)] + connections * [
        Asked("websocket-c", is_write=False),
        Asked("websocket.outbox.c", is_write=False),
    ]
    asked = hosts * (beats * (beat + look) + vitals + passes * one_pass)
    costs = rest.costs_of(asked, hosts, connections, window_s)
    an_hour, passes_an_hour = 3600 / window_s, 3600 / DEFAULTS.sweep_interval_s
    assert costs == {
        rest.BY_HOST: pytest.approx(an_hour * (3 * beats + 1) + passes_an_hour),
        rest.BY_WATCHED: pytest.approx(an_hour * beats),
        rest.BY_CONNECTION: pytest.approx(passes_an_hour * 2 * hosts),
    }


def test_failover_is_told_by_its_ends_and_its_middle_against_the_formula():
    formula, *rows = failover.rows_of([10, 24, 20], 1500, DEFAULTS)
    assert formula.value == 15 + 2 * 5 + 1.5
    assert {row.name: (row.value, row.ratio) for row in rows} == {
        "fastest": (10, 0.377),
        "median": (20, 0.755),
        "slowest": (24, 0.906),
    }


def test_a_pass_is_told_by_its_time_against_the_rate_its_memory_and_the_lag_against_that_at_rest():
    idle, first, second = sweep.Pass(0, 2, 0, 1, 4), sweep.Pass(9, 2, 10, 20, 80), sweep.Pass(9, 4, 15, 30, 60)
    rows = sweep.rows_of(6_000, idle, [first, second], sweep.Pass(9, 1, 8, 5, 16))
    assert {row.name: (row.value, row.unit, row.ratio) for row in rows if row.reference} == {
        "unbounded, time": (3, "s", 0.5),
        "unbounded, memory in pass 2": (15, "MiB", 1.5),
        "at sweep_rate, lag p99": (5, "ms", 5),
        "unbounded, lag p99": (25, "ms", 25),
        "at sweep_rate, worst lag": (16, "ms", 4),
        "unbounded, worst lag": (70, "ms", 17.5),
    }
