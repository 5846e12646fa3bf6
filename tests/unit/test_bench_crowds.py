"""What `make bench` makes of its figures about many connections."""

from __future__ import annotations

import pytest

from tests.bench import idle, storm
from tests.bench.storm import Storms, dealt, quantile

INF = float("inf")


def test_ticks_are_dealt_to_the_buckets_of_the_managers_own_meter():
    assert dealt([0, 0.001, 0.0011, 0.2, 31]) == {0.001: 2, 0.0025: 1, 0.25: 1, INF: 1}


@pytest.mark.parametrize(
    ("ticks", "share", "expected"),
    [
        ({0.1: 100}, 0.5, 0.05),
        ({0.1: 90, 0.25: 10}, 0.99, 0.235),
        ({0.1: 90, 0.25: 0, 0.5: 10}, 0.95, 0.25 + 0.25 / 2),
        ({0.1: 98, 30.0: 0, INF: 2}, 0.99, 30.0),
        ({}, 0.99, 0.0),
    ],
)
def test_a_quantile_of_ticks_lies_within_its_bucket_by_straight_line(
    ticks: dict[float, float], share: float, expected: float
):
    assert quantile(ticks, share) == pytest.approx(expected)


def test_a_storm_is_told_against_the_library_round_by_round_and_beats_stand_alone():
    library, manager = Storms(), Storms()
    for factor in (1, 2, 3):
        library.add(factor, {0.1: 100}, 0.1 * factor)
        manager.add(2 * factor, {0.2: 100}, 0.3 * factor, 0.01 * factor)
    rows = {row.name: (row.value, row.unit, row.reference, row.ratio) for row in storm.rows_of(library, manager)}
    assert {name: row for name, row in rows.items() if name.startswith("manager")} == {
        "manager, loop lag p99": (198, "ms", "the library alone, loop lag p99", 2),
        "manager, worst loop lag": (600, "ms", "the library alone, worst loop lag", 3),
        "manager, all connected again": (4000, "ms", "the library alone, all connected again", 2),
        "manager, latest heartbeat": (20, "ms", None, 1),
    }


def test_memory_is_told_in_bytes_against_the_library():
    rows = idle.rows_of({idle.LIBRARY: 15_000, idle.MANAGER: 18_000})
    assert [(row.name, row.value, row.unit, row.ratio) for row in rows] == [
        ("the library alone", 15_000, "bytes", 1),
        ("manager", 18_000, "bytes", 1.2),
    ]
