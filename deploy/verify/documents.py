"""YAML and JSON files as documents that know on which line each field stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.verify.problems import Problem

FOLDERS = ("deploy", "components", ".github")
SUFFIXES = (".yaml", ".yml", ".json", ".bicep", ".bicepparam", ".sh", "Dockerfile", ".md")
LEFT_OUT = ("deploy/verify/schemas", "deploy/verify/__pycache__")
Keys = tuple[str | int, ...]


class _Loader(yaml.CSafeLoader):
    """Reads the tags of CloudFormation (`!Ref Table`) as `{"!Ref": "Table"}`."""


def _tagged(loader: _Loader, suffix: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        return {f"!{suffix}": loader.construct_scalar(node)}
    if isinstance(node, yaml.SequenceNode):
        return {f"!{suffix}": loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {f"!{suffix}": loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _tagged)


@dataclass(frozen=True, slots=True)
class Document:
    """One document of a file. `node` is what was composed of it."""

    file: Path
    data: Any
    node: yaml.Node

    def line(self, keys: Sequence[str | int] = ()) -> int:
        """The line of a field, or of the nearest field around it that there is."""
        node, line = self.node, self.node.start_mark.line
        for key in keys:
            found = _step(node, key)
            if found is None:
                break
            line, node = found
        return line + 1

    def problem(self, keys: Sequence[str | int], what: str) -> Problem:
        """Something is wrong with a field."""
        return Problem(self.file, self.line(keys), f"{dotted(keys)}: {what}" if keys else what)

    @property
    def kind(self) -> str:
        """Group, version and kind, such as `apps/v1/StatefulSet`; empty for what is no resource."""
        if isinstance(self.data, dict) and {"apiVersion", "kind"} <= self.data.keys():
            return f"{self.data['apiVersion']}/{self.data['kind']}"
        return ""

    @property
    def name(self) -> str:
        """The name of a resource."""
        return str(self.data.get("metadata", {}).get("name", ""))


def dotted(keys: Sequence[str | int]) -> str:
    """`spec.containers[0].image`."""
    text = ""
    for key in keys:
        text += f"[{key}]" if isinstance(key, int) else f"{'.' if text else ''}{key}"
    return text


def _step(node: yaml.Node, key: str | int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == str(key):
                return name.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
        return node.value[key].start_mark.line, node.value[key]
    return None


def files(root: Path) -> Iterator[Path]:
    """All files to be checked, relative to the top folder."""
    for folder in FOLDERS:
        for path in sorted((root / folder).rglob("*")):
            file = path.relative_to(root)
            if path.is_file() and path.name.endswith(SUFFIXES) and not file.as_posix().startswith(LEFT_OUT):
                yield file


def load(root: Path, file: Path) -> tuple[list[Document], list[Problem]]:
    """The documents of a YAML or JSON file, or why it cannot be read."""
    text = (root / file).read_text()
    if file.suffix == ".json":
        try:
            json.loads(text)
        except json.JSONDecodeError as error:
            return [], [Problem(file, error.lineno, f"no JSON: {error.msg}")]
    try:
        return _documents(file, text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        return [], [Problem(file, line, f"no YAML: {error.problem}")]


def parse(file: Path, text: str) -> list[Document]:
    """The documents of a text that a program has written."""
    return _documents(file, text)[0]


def _documents(file: Path, text: str) -> tuple[list[Document], list[Problem]]:
    documents, problems = [], []
    for node in yaml.compose_all(text, Loader=_Loader):
        if node is not None:
            problems += list(_twice(file, node))
            loader = _Loader("")
            documents.append(Document(file, loader.construct_document(node), node))
    return documents, problems


def _twice(file: Path, node: yaml.Node) -> Iterator[Problem]:
    """Keys that are there twice: YAML takes the last without a word."""
    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, value in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                yield Problem(file, key.start_mark.line + 1, f"{key.value}: is there twice")
            seen.add(key.value)
            yield from _twice(file, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            yield from _twice(file, value)
