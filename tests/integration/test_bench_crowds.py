"""What `make bench` measures on many connections, in short runs with few."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench import idle, storm
from tests.processes import none_left

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    with none_left():
        yield


async def test_a_short_look_at_idle_connections_tells_what_each_takes(tmp_path: Path):
    group = await idle.measure(tmp_path, connections=400, settling_s=0.5)
    assert [row.name for row in group.rows] == [idle.LIBRARY, idle.MANAGER]
    assert all(5_000 < row.value < 100_000 for row in group.rows)
    assert group.about["connections"] == 400


async def test_a_small_storm_has_all_rows(tmp_path: Path):
    group = await storm.measure(tmp_path, connections=50, rounds=1)
    rows = {row.name: row.value for row in group.rows}
    assert len(rows) == 7
    assert all(0 <= value < 60_000 for value in rows.values())
    assert rows["manager, all connected again"] > 0
