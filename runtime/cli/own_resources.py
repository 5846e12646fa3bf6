"""The components as a sidecar of our own gets them: a copy in which a broker hands out one event after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import yaml

from runtime.cli.calls import EXIT_REFUSED, CallFailed

IN_ORDER = {
    "pubsub.jetstream": {"name": "concurrency", "value": "single"},
    "pubsub.rabbitmq": {"name": "concurrency", "value": "single"},
    "pubsub.redis": {"name": "concurrency", "value": "1"},
}
"""Metadata by type of component. To other brokers the word is unknown."""


def copy_in_order(source: Path, target: Path) -> Path:
    """Copy what a sidecar reads in a folder, changed where it says more; the copy. Raises CallFailed.

    A folder that is not there is given back: the sidecar tells.
    """
    if not source.is_dir():
        return source
    target.mkdir()
    try:
        for path in source.iterdir():
            if path.suffix in {".yaml", ".yml"} and path.is_file():
                (target / path.name).write_bytes(_in_order(path.read_bytes()))
    except OSError as error:
        raise CallFailed(f"the components cannot be read: {error}", EXIT_REFUSED) from None
    return target


def _in_order(text: bytes) -> bytes:
    """A file with its brokers changed; the same bytes if it has none, or is no YAML: that is the sidecar's to tell."""
    try:
        documents = list(yaml.safe_load_all(text))
    except (yaml.YAMLError, ValueError):  # the latter of a date that there is not
        return text
    if not [each for each in documents if _change(each)]:
        return text
    # JSON is YAML, and its strings are strings to every reader: a password like 1e5 stays what it is.
    return b"\n---\n".join(orjson.dumps(each, option=orjson.OPT_NON_STR_KEYS) for each in documents)


def _change(document: Any) -> bool:
    """Whether it is such a broker, and so was changed."""
    match document:
        case {"kind": "Component", "spec": {"type": str(kind), "metadata": [*items]} as spec} if kind in IN_ORDER:
            ours = IN_ORDER[kind]
            spec["metadata"] = [item for item in items if _name(item) != ours["name"]] + [ours]
            return True
        case _:
            return False


def _name(item: Any) -> str | None:
    """In lower case: so the sidecar compares them."""
    match item:
        case {"name": str(name)}:
            return name.lower()
        case _:
            return None
