"""The figures of `make bench`: how rows are made, and the two forms in which they are told."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tests.bench.bench import main
from tests.bench.table import Group, against, alone, as_json, as_table, percentile


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
    assert [row["name"] for row in json.loads(path.read_text())["results"]] == ["b"]
    printed = capsys.readouterr().out
    assert "title of b" in printed
    assert "note of b" in printed


def test_without_only_all_groups_are_measured():
    a, b = Measured("a"), Measured("b")
    main([], {"a": a.measure, "b": b.measure})
    assert (a.calls, b.calls) == (1, 1)


def test_an_unknown_group_is_refused_with_the_names_of_those_that_there_are(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["--only", "c"], {"a": Measured("a").measure, "b": Measured("b").measure})
    told = capsys.readouterr().err
    assert "'c'" in told
    assert "{a,b}" in told
