"""Each block of commands in deploy/*/README.md is run by a test, or is said not to be run, and why."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
READMES = sorted((ROOT / "deploy").glob("*/README.md"))
PLATFORMS = {"kubernetes", "knative", "aws", "azure-container-apps"}
_MARK = re.compile(r"<!-- (?:not run: (?P<why>\S.*\S)|run by: (?P<file>\S+\.py)::(?P<test>\w+)) -->")


def fences(text: str) -> list[tuple[int, str, str]]:
    """Each block with the line on which it begins, and the line before it."""
    found, is_inside, before = [], False, ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            if not is_inside:
                found.append((number, line.strip().strip("`"), before))
            is_inside = not is_inside
        before = line.strip()
    assert not is_inside, "a block does not end"
    return found


def unmarked(text: str) -> list[str]:
    """What is wrong with the marks of a page."""
    wrong = []
    for number, language, before in fences(text):
        mark = _MARK.fullmatch(before)
        if mark is None:
            wrong.append(f"line {number}: a block of {language or 'text'} is neither run by a test nor said not to be")
        elif mark["file"] is not None:
            file = ROOT / mark["file"]
            if not file.exists() or not re.search(rf"^(?:async )?def {mark['test']}\(", file.read_text(), re.MULTILINE):
                wrong.append(f"line {number}: there is no {mark['file']}::{mark['test']}")
    return wrong


@pytest.mark.parametrize("readme", READMES, ids=lambda readme: readme.parent.name)
def test_each_block_is_run_by_a_test_or_says_why_it_is_not(readme: Path):
    assert unmarked(readme.read_text()) == []
    assert fences(readme.read_text()), "a walk-through has commands"


def test_each_platform_has_a_walk_through():
    assert {readme.parent.name for readme in READMES} >= PLATFORMS


@pytest.mark.parametrize(
    ("before", "wrong"),
    [
        ("", 1),
        ("<!-- not run: -->", 1),
        ("<!-- not run: needs a cluster -->", 0),
        ("<!-- run by: tests/integration/test_walkthroughs.py::no_such_test -->", 1),
        ("<!-- run by: tests/integration/test_walkthroughs.py::test_each_platform_has_a_walk_through -->", 0),
    ],
)
def test_a_block_without_a_mark_that_holds_is_found(before: str, wrong: int):
    assert len(unmarked(f"Say\n\n{before}\n```sh\nwsm list\n```\n")) == wrong
