"""Bicep files as far as that goes without its compiler: brackets and texts that end, modules, parameters, versions.

There is no package of the compiler. tests/integration/test_azure_container_apps.py looks at names and properties too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from deploy.verify.problems import Problem

_MODULE = re.compile(r"^module\s+\w+\s+'([^']+)'\s*=\s*(?:if\s*\([^)]*\)\s*|\[for[^:]*:\s*)?\{", re.MULTILINE)
_PARAM = re.compile(r"^param\s+(\w+)\s+[^\n=]*(=)?", re.MULTILINE)
_RESOURCE = re.compile(r"^resource\s+\w+\s+'([^']*)'", re.MULTILINE)
_TYPE = re.compile(r"[A-Za-z.]+(/[A-Za-z]+)+@\d{4}-\d\d-\d\d(-preview)?")
_PAIRS = {")": "(", "]": "[", "}": "{"}
# Texts in three quotes, texts in one (escapes, and ${…} in them), comments.
_NO_CODE = re.compile(r"'''.*?'''|'(?:\\.|[^'\\\n])*'|//[^\n]*|/\*.*?\*/", re.DOTALL)


def check(root: Path, file: Path, text: str) -> Iterator[Problem]:
    """What is wrong with a file."""
    code = _NO_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), text)
    yield from _brackets(file, code)
    for match in _RESOURCE.finditer(text):
        if not _TYPE.fullmatch(match[1]):
            yield Problem(file, _line(text, match.start()), f"'{match[1]}' is no type with a version of its API")
    for match in _MODULE.finditer(text):
        target = (root / file).parent / match[1]
        line = _line(text, match.start())
        if not target.exists():
            yield Problem(file, line, f"there is no {match[1]}")
            continue
        yield from _parameters(file, line, _block(code, match.end()), target)


def _brackets(file: Path, code: str) -> Iterator[Problem]:
    opened: list[tuple[str, int]] = []
    for number, line in enumerate(code.splitlines(), 1):
        if "'" in line:
            yield Problem(file, number, "a text does not end")
        for sign in line:
            if sign in _PAIRS.values():
                opened.append((sign, number))
            elif sign in _PAIRS and (not opened or opened.pop()[0] != _PAIRS[sign]):
                yield Problem(file, number, f"{sign} closes nothing")
                return
    if opened:
        yield Problem(file, opened[-1][1], f"{opened[-1][0]} is never closed")


def _parameters(file: Path, line: int, given: set[str] | None, target: Path) -> Iterator[Problem]:
    """A module gets each parameter that has no default, and none that it does not have."""
    takes = {match[1]: match[2] is not None for match in _PARAM.finditer(target.read_text())}
    if given is None:
        return
    for name in sorted(given - takes.keys()):
        yield Problem(file, line, f"{target.name} has no parameter {name}")
    for name in sorted(name for name, has_default in takes.items() if not has_default and name not in given):
        yield Problem(file, line, f"{target.name} needs the parameter {name}")


def _block(code: str, start: int) -> set[str] | None:
    """The keys of `params` in the block that begins at `start`."""
    found = re.compile(r"\bparams:\s*\{").search(code, start)
    if found is None:
        return set()
    depth, keys, at = 1, set(), found.end()
    for line in code[at:].splitlines(keepends=True):
        key = re.match(r"\s*(\w+):", line)
        if depth == 1 and key:
            keys.add(key[1])
        depth += sum(line.count(sign) for sign in "{[(") - sum(line.count(sign) for sign in "}])")
        if depth < 1:
            return keys
    return None


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1
