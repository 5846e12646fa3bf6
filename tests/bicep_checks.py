"""What a Bicep compiler would say of a folder of files, as far as it can be said without one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.bicep import BicepFile

PROPERTIES: dict[str, Any] = json.loads((Path(__file__).parent / "azure_properties.json").read_text())["types"]
UNKNOWN_MODELS = {"Microsoft.Insights/diagnosticSettings@2021-05-01-preview"}
"""Types that no client was found for: their properties are not checked."""
FUNCTIONS = {
    *("concat", "empty", "guid", "items", "json", "map", "resourceGroup", "string", "subscription"),
    *("subscriptionResourceId", "take", "uniqueString"),
}
"""The functions that may be used here; none of them gives a key."""
OF_BICEP = {"name", "parent", "scope", "dependsOn"}
"""What a body may have beside the properties of its type."""


def problems(files: Mapping[str, BicepFile]) -> list[str]:
    """All that is wrong with these files, by name."""
    return [f"{name}: {problem}" for name, file in files.items() for problem in _of_file(file, files)]


def _of_file(file: BicepFile, files: Mapping[str, BicepFile]) -> Iterator[str]:
    yield from file.problems
    for name in sorted(file.used - file.declared.keys()):
        yield f"{name} is declared nowhere"
    for name, each in file.declared.items():
        if each.kind in {"param", "var"} and name not in file.used:
            yield f"{name} is not used"
    for name in sorted(file.called - FUNCTIONS):
        yield f"the function {name} is not among those that may be used"
    for each in file.of_kind("resource").values():
        yield from _of_resource(each.what, each.body)
    for name, each in file.of_kind("module").items():
        if each.what not in files:
            yield f"the module {name} has no file {each.what}"
        else:
            yield from _of_module(name, each.body, files[each.what])
    for name, output in sorted(file.outputs_used):
        module = file.of_kind("module").get(name)
        if module is not None and module.what in files and output not in files[module.what].outputs:
            yield f"{module.what} has no output {output}"


def _of_resource(what: str, body: Any) -> Iterator[str]:
    if what in UNKNOWN_MODELS:
        return
    if what not in PROPERTIES:
        yield f"{what} is not a known type with version"
        return
    yield from _of_body(what, "", body, PROPERTIES[what]["properties"])


def _of_body(what: str, place: str, body: Any, known: Mapping[str, list[str]]) -> Iterator[str]:
    if isinstance(body, list):
        for each in body:
            yield from _of_body(what, place, each, known)
    if not isinstance(body, dict) or place not in known:  # a dictionary of texts, such as the metadata of a scaler
        return
    for name, value in body.items():
        here = f"{place}.{name}".lstrip(".")
        if name not in known[place] and not (place == "" and name in OF_BICEP):
            yield f"{what} has no property {here}"
        yield from _of_body(what, here, value, known)


def _of_module(name: str, body: Any, file: BicepFile) -> Iterator[str]:
    given, params = set(body.get("params", {})), file.of_kind("param")
    for param in sorted(given - params.keys()):
        yield f"{file.path.name} has no parameter {param}"
    for param in sorted(key for key, each in params.items() if not each.has_value and key not in given):
        yield f"the module {name} is not given {param}"
