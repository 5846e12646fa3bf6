"""The index of all connections as it is stored: a JSON list of ids under each of its keys."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import orjson
from pydantic import Field

from runtime.errors import GarbageRecordError
from runtime.models.wire import WireModel


class Layout(WireModel):
    """The key `websocket.layout`, written once: over how many keys the index is spread."""

    index_shards: int = Field(ge=1, le=1024)


@dataclass(frozen=True, slots=True, eq=False)
class IndexChange:
    """Whether an id is to be in the index."""

    connection_id: str
    is_in: bool


def read_index(key: str, value: bytes) -> list[str]:
    """The ids under a key of the index. Raises GarbageRecordError."""
    try:
        ids = orjson.loads(value)
    except orjson.JSONDecodeError:
        ids = None
    if not isinstance(ids, list) or not all(isinstance(id_, str) for id_ in ids):
        raise GarbageRecordError(f"the value under {key} is not a list of ids")
    return ids


def change_index(key: str, value: bytes | None, changes: Iterable[IndexChange]) -> bytes | None:
    """What to write; None when the index is so already. Raises GarbageRecordError."""
    before = dict.fromkeys(read_index(key, value) if value else [])
    after = dict(before)
    for change in changes:
        if change.is_in:
            after.setdefault(change.connection_id)
        else:
            after.pop(change.connection_id, None)
    return orjson.dumps(list(after)) if after.keys() != before.keys() else None
