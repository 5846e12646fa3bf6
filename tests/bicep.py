"""Reads Bicep files: what they declare, what they refer to, and the bodies of their resources as Python values."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Self

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

_KINDS = {
    "parameter_declaration": "param",
    "variable_declaration": "var",
    "resource_declaration": "resource",
    "module_declaration": "module",
    "output_declaration": "output",
}
_VARIABLES = {"loop_variable", "loop_enumerator"}


@dataclass(frozen=True, slots=True)
class Expression:
    """What only Azure can evaluate, as it is written."""

    text: str


@dataclass(frozen=True, slots=True)
class Declared:
    """A name of a file. `what`: the type of a resource with its version, the path of a module. `body`: its value."""

    kind: str
    what: str
    body: Any
    has_value: bool


@dataclass
class BicepFile:
    """A file. `used`: the names that it refers to; `called`: functions; `outputs_used`: of its modules, by module."""

    path: Path
    problems: list[str] = field(default_factory=list)
    declared: dict[str, Declared] = field(default_factory=dict)
    outputs: dict[str, Declared] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    outputs_used: set[tuple[str, str]] = field(default_factory=set)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file; what its grammar does not allow stands in `problems`."""
        return cls.parse(path.read_text(), path)

    @classmethod
    def parse(cls, text: str, path: Path = Path("main.bicep")) -> Self:
        """The same, of a text."""
        root = _parser().parse(text.encode()).root_node
        read = cls(path)
        for node in _walk(root):
            if node.type == "ERROR" or node.is_missing:
                read.problems.append(f"{path.name}:{node.start_point[0] + 1}: {_text(node)[:60]!r}")
        for node in root.children:
            if node.type in _KINDS:
                read._declare(node, _KINDS[node.type])
                read._refer(node, _variables(node), is_declaration=True)
        return read

    def of_kind(self, kind: str) -> dict[str, Declared]:
        """What is declared with a keyword."""
        return {name: each for name, each in self.declared.items() if each.kind == kind}

    def _declare(self, node: Node, kind: str) -> None:
        name = _text(next(child for child in node.children if child.type == "identifier"))
        is_typed = kind in {"resource", "module"}
        what = _value(next(child for child in node.children if child.type == "string")) if is_typed else ""
        has_value = any(child.type == "=" for child in node.children)
        declared = Declared(kind, what, _value(node.children[-1]) if has_value else None, has_value)
        names = self.outputs if kind == "output" else self.declared
        if name in names:
            self.problems.append(f"{self.path.name}: {name} is declared twice")
        names[name] = declared

    def _refer(self, node: Node, local: set[str], *, is_declaration: bool = False) -> None:
        children = list(node.children)
        if is_declaration:
            children = children[children.index(next(child for child in children if child.type == "identifier")) + 1 :]
        if node.type == "object_property" and children[0].type == "identifier":
            children = children[1:]
        if node.type == "call_expression" and children[0].type == "identifier":
            self.called.add(_text(children[0]))
            children = children[1:]
        if node.type == "member_expression" and (found := _output(node)):
            self.outputs_used.add(found)
        if node.type in {"decorators", "type"} | _VARIABLES:
            return
        for child in children:
            if child.type == "identifier" and _text(child) not in local:
                self.used.add(_text(child))
            self._refer(child, local)


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bicep.language()))


def _text(node: Node) -> str:
    return (node.text or b"").decode()


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from _walk(child)


def _variables(node: Node) -> set[str]:
    """What loops and lambdas inside a declaration call their items."""
    found = set()
    for each in _walk(node):
        if each.type in _VARIABLES:
            found.add(_text(each))
        elif each.type in {"for_statement", "lambda_expression"}:
            for child in each.children:
                if child.type in {"in", "=>"}:
                    break
                if child.type == "identifier":
                    found.add(_text(child))
    return found


def _output(node: Node) -> tuple[str, str] | None:
    """Module and output of `module.outputs.name`."""
    parts = _text(node).split(".")
    return (parts[0], parts[2]) if len(parts) == 3 and parts[1] == "outputs" else None


def _value(node: Node) -> Any:
    match node.type:
        case "object":
            pairs = [child for child in node.children if child.type == "object_property"]
            return {_key(each.children[0]): _value(each.children[-1]) for each in pairs}
        case "array":
            return [_value(child) for child in node.children if child.is_named and child.type != "comment"]
        case "string" if all(child.type in {"'", "string_content"} for child in node.children):
            return "".join(_text(child) for child in node.children if child.type == "string_content")
        case "number" | "boolean":
            return json.loads(_text(node))
        case "for_statement":  # what each of them is
            return _value([child for child in node.children if child.is_named][-1])
        case "ternary_expression":  # the longer of two forms
            return max((_value(child) for child in node.children if child.type in {"array", "object"}), key=len)
        case "call_expression" if _text(node.children[0]) == "concat":
            arrays = [child for child in node.children[1].children if child.type == "array"]
            return [item for array in arrays for item in _value(array)]
        case _:
            return Expression(_text(node))


def _key(node: Node) -> str:
    value = _value(node) if node.type == "string" else _text(node)
    return value if isinstance(value, str) else value.text
