"""The options of a connection as a table for people, made from the models.

`python -m tests.options_table` writes it into the README, which a test compares with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from runtime.models.options import WebSocketOptions

UNITS = {"S": "s", "Bytes": "bytes", "Messages": "messages", "Fragments": "fragments", "Attempts": "failures"}
README = Path(__file__).parent.parent / "README.md"


def options_table() -> str:
    """Markdown: name, default, unit and meaning of each option, and of each part of those that are objects."""
    schema = WebSocketOptions.model_json_schema(by_alias=True)
    rows = [f"| `{name}` | {default} | {unit} | {text} |" for name, default, unit, text in _rows(schema)]
    return "\n".join(["| option | default | unit | |", "| --- | --- | --- | --- |", *rows, ""])


def parts_of(readme: str) -> tuple[str, str, str]:
    """What stands before the table, the table, and what stands behind it."""
    before, begin, rest = readme.partition("<!-- options -->\n")
    table, end, after = rest.partition("<!-- end of options -->")
    return before + begin, table, end + after


def _rows(schema: dict[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    told: dict[str, str] = {}  # what a field may hold, and the field with which that was told
    for name, field in schema["properties"].items():
        models = [model for model in _models(field) if schema["$defs"][model].get("properties")]
        likewise = next((f"; as `{told[model]}`" for model in models if model in told), "")
        yield name, _default(field), _unit(name, field), _meaning(schema, field) + likewise
        for model in models:
            if model not in told:
                told[model] = name
                for part, its in schema["$defs"][model]["properties"].items():
                    yield f"{name}.{part}", _default(its), _unit(part, its), _meaning(schema, its)


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "" if value in (None, [], {}) else f"`{orjson.dumps(value).decode()}`"


def _unit(name: str, field: dict[str, Any]) -> str:
    kinds = {part.get("type") for part in (field, *field.get("anyOf", ()))}
    ending = re.search(r"[A-Z][a-z]*$", name)
    return UNITS.get(ending[0], "") if ending is not None and kinds & {"number", "integer"} else ""


def _meaning(schema: dict[str, Any], field: dict[str, Any]) -> str:
    choices = [value for model in _models(field) for value in schema["$defs"][model].get("enum", ())]
    return field.get("description") or " or ".join(f"`{value}`" for value in choices)


def _models(part: object) -> list[str]:
    """The models that are named in a part of the schema, secrets aside."""
    if isinstance(part, list):
        return [name for each in part for name in _models(each)]
    if not isinstance(part, dict):
        return []
    names = (
        [part["$ref"].rpartition("/")[2]]
        if "$ref" in part
        else [name for each in part.values() for name in _models(each)]
    )
    return [name for name in names if name != "SecretReference"]


if __name__ == "__main__":
    before, _, after = parts_of(README.read_text())
    README.write_text(before + options_table() + after)
