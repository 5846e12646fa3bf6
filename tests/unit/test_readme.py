"""What the README gives to subscribers does what it says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tests.options_table import options_table, parts_of

README = Path(__file__).parents[2] / "README.md"


def test_the_table_of_options_is_what_the_models_say():
    assert parts_of(README.read_text())[1] == options_table(), "python -m tests.options_table writes it anew"


def test_every_option_says_what_it_is_and_every_number_its_unit():
    rows = [[cell.strip() for cell in row.split("|")[1:-1]] for row in options_table().splitlines()[2:]]
    assert len(rows) > 60
    assert [name for name, _, _, meaning in rows if not meaning] == []


def given() -> Any:
    """The function of the README, with an account of its own."""
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    return names["is_new"]


def frame(epoch: int, sequence: int, id_: str = "a") -> dict[str, Any]:
    return {"websocketId": id_, "epoch": epoch, "sequence": sequence}


def test_a_subscriber_gets_each_frame_once():
    is_new = given()
    arrivals = [frame(1, 1), frame(1, 2), frame(1, 1), frame(1, 2), frame(1, 3), frame(1, 1, "b"), frame(1, 3)]
    assert [is_new(each) for each in arrivals] == [True, True, False, False, True, True, False]


def test_the_last_frames_of_an_old_owner_are_no_repeats():
    is_new = given()
    arrivals = [frame(1, 1), frame(2, 1), frame(1, 2), frame(2, 2), frame(1, 2)]
    assert [is_new(each) for each in arrivals] == [True, True, True, True, False]
