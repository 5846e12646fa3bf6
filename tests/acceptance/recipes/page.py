"""A recipe as a test reads it: its fenced blocks by name, so that what is written and what is run are the same text.

The first line of a fence says what a block is: ```yaml feed.yaml is a file, ```sh watch are commands that a test runs
under that name. A block ```text that follows commands is what they print.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

RECIPES = Path(__file__).parents[3] / "docs" / "recipes"
_FENCE = re.compile(r"^```(?P<language>\w+)(?: (?P<name>[\w.-]+))?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, slots=True)
class Commands:
    """Commands, and all that they print, where the page tells it."""

    script: str
    prints: str | None


class Page:
    """One recipe. `moved`: where the peer is instead; `paced`: numbers that a day, or a minute, becomes in a test.

    Whatever is replaced must be there. One test of each page runs all of its commands: `check_all_used`.
    """

    def __init__(self, name: str, moved: Mapping[str, str], paced: Mapping[str, float] | None = None) -> None:
        text = (RECIPES / name).read_text()
        assert text.count("```") == 2 * len(_FENCE.findall(text)), f"{name} has a fence that is not understood"
        for old, new in moved.items():
            assert old in text, f"{name} does not have {old}"
            text = text.replace(old, new)
        self.name = name
        self._files: dict[str, str] = {}
        self._commands: dict[str, Commands] = {}
        self._unused: set[str] = set()
        self._read(_paced(text, paced or {}))

    def write_files(self, folder: Path) -> None:
        """Put all files of the page into a folder."""
        for name, text in self._files.items():
            (folder / name).write_text(text)

    def commands(self, name: str) -> Commands:
        """The commands of this name."""
        self._unused.discard(name)
        return self._commands[name]

    def check_all_used(self) -> None:
        """Whether each command of the page was run."""
        assert not self._unused, f"{self.name} has commands that were not run: {sorted(self._unused)}"

    def _read(self, text: str) -> None:
        before: str | None = None
        for found in _FENCE.finditer(text):
            language, name, body = found["language"], found["name"], found["text"]
            if language == "text":
                assert before is not None, f"{self.name} tells what no commands print: {body}"
                self._commands[before] = Commands(self._commands[before].script, body)
                before = None
                continue
            assert name is not None, f"{self.name} has a block without a name: {body}"
            assert name not in {*self._files, *self._commands}, f"{self.name} has {name} twice"
            if language == "sh":
                self._commands[name] = Commands(body, None)
                self._unused.add(name)
                before = name
            else:
                self._files[name], before = body, None


def _paced(text: str, paced: Mapping[str, float]) -> str:
    """With the numbers of options (`maxAgeS: 82800`, `--dial-window-s 300`) replaced."""
    for name, number in paced.items():
        text, count = re.subn(rf"(\b{name}[:=]? )[\d.]+", rf"\g<1>{number:g}", text)
        assert count, f"the page does not set {name}"
    return text
