"""Names that must be the same everywhere: environment variables and their values, topics, app-ids, components."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pydantic import ValidationError

from deploy.verify.documents import Document, Keys
from deploy.verify.problems import Problem
from runtime.ports import Names
from runtime.settings import Settings, unknown_variables

NAMES = Names()
KNOWN = {getattr(NAMES, each.name) for each in fields(NAMES)} | {"websocket-manager"}
OF_DEPLOYMENT = (
    "websocket-connections",
    "websocket-backends",
    "websocket-feeds",
    "websocket-app-token",
    "websocket-redis",
    "websocket-source",
)
"""Names of secrets and resources that begin likewise."""
_VARIABLE = re.compile(r"\bWSM_[A-Z0-9_]+\b")
_NAME = re.compile(r"(?<![\w./@-])websocket-[a-z][a-z-]*[a-z]")
_ENV_OF_BICEP = re.compile(r"name:\s*'(WSM_\w+)'\s*[,\n]?\s*value:\s*'([^'$]*)'")
_COMMENT = re.compile(r"^\s*(#|//)")


def check_variables(file: Path, text: str) -> Iterator[Problem]:
    """Every variable with our prefix is one that is read."""
    for number, line in enumerate(text.splitlines(), 1):
        for found in _VARIABLE.findall(line):
            for name, meant in unknown_variables([found]):
                hint = f"; {meant} is meant?" if meant else ""
                yield Problem(file, number, f"no setting reads {name}{hint}")


def check_names(file: Path, text: str) -> Iterator[Problem]:
    """Every name that begins with `websocket-` is one that is used; in Bicep also the values of variables."""
    for number, line in enumerate(text.splitlines(), 1):
        if _COMMENT.match(line):
            continue
        for found in _NAME.findall(line):
            if not _is_known(found):
                meant = next(iter(get_close_matches(found, sorted(KNOWN), 1, 0.7)), None)
                hint = f"; {meant} is meant?" if meant else ""
                yield Problem(file, number, f"nothing is called {found}{hint}")
    for match in _ENV_OF_BICEP.finditer(text) if file.suffix == ".bicep" else ():
        line_number = text.count("\n", 0, match.start()) + 1
        yield from (Problem(file, line_number, what) for what in wrong_values({match[1]: match[2]}))


def _is_known(name: str) -> bool:
    """One of ours, or one that is made of it by an ending, such as `websocket-host-feeds`."""
    return name in OF_DEPLOYMENT or any(name == known or name.startswith(known + "-") for known in KNOWN)


def check_values(document: Document) -> Iterator[Problem]:
    """What containers set is what settings take."""
    for keys, env in environments(document.data):
        for what in wrong_values({name: value for name, (_, value) in env.items()}):
            name = what.partition(":")[0]
            at: Keys = (*keys, env[name][0]) if name in env else keys
            yield document.problem(at, what)


def wrong_values(env: Mapping[str, str]) -> list[str]:
    """What the settings say against variables, each line beginning with the name of one where it can."""
    with patch.dict("os.environ", env, clear=True):
        try:
            Settings()
        except ValidationError as error:
            return Settings.explain(error)
    return []


def settings_of(env: Mapping[str, str]) -> Settings | None:
    """What a process with these variables takes, unless they are wrong."""
    with patch.dict("os.environ", env, clear=True):
        try:
            return Settings()
        except ValidationError:
            return None


def environments(data: Any, keys: Keys = ()) -> Iterator[tuple[Keys, dict[str, tuple[int, str]]]]:
    """Each list of variables, as Kubernetes and ECS write them: by name, the place in the list and the value."""
    if isinstance(data, list):
        found: dict[str, tuple[int, str]] = {}
        for number, each in enumerate(data):
            if isinstance(each, dict):
                name, value = each.get("name", each.get("Name")), each.get("value", each.get("Value"))
                if isinstance(name, str) and isinstance(value, str) and name.startswith("WSM_"):
                    found[name] = (number, value)
            yield from environments(each, (*keys, number))
        if found:
            yield keys, found
    elif isinstance(data, dict):
        for key, value in data.items():
            yield from environments(value, (*keys, key))
