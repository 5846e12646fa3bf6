"""The imitations by hand, as the index of the recipes says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.acceptance.recipes.page import RECIPES, Page
from tests.acceptance.recipes.reader import following
from tests.processes import is_open

pytestmark = pytest.mark.acceptance


async def test_the_imitations_tell_what_stands_in_the_place_of_each_peer(tmp_path: Path):
    page = Page("README.md", {})
    async with following(page, tmp_path, REPOSITORY=str(RECIPES.parents[1])) as reader:
        await reader.begin("play")
        await reader.until(lambda: len(reader.lines("play")) >= 5, "they listen")
        told = dict(line.split("  ") for line in reader.lines("play")[:4])
        assert all(is_open(int(place.rpartition(":")[2])) for place in told.values())
        pages = "".join(path.read_text() for path in RECIPES.glob("*-*.md")) + (RECIPES / "charger.md").read_text()
        written = set(re.findall(r"(?:wss|https)://[a-z0-9.-]+\.example", pages))
        assert written == told.keys(), "a page names a peer that is not played"
        page.check_all_used()


def test_the_index_names_each_recipe():
    linked = set(re.findall(r"\]\(([\w-]+\.md)\)", (RECIPES / "README.md").read_text()))
    assert linked == {path.name for path in RECIPES.iterdir()} - {"README.md"}
