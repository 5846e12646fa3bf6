"""JSON Schemas, made from the models: of what is read as it may be written, of what is written as it always is."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import override

from runtime.models.commands import COMMAND_ADAPTER
from runtime.models.connection import DaprStateStoreEntry
from runtime.models.envelope import MessageEnvelope
from runtime.models.events import GapAnnounced, Notice, StatusChanged
from runtime.models.instance import Instance
from runtime.models.options import WebSocketOptions
from runtime.models.outcome import Outcome

_WRITTEN: dict[str, Any] = {
    "record": DaprStateStoreEntry,
    "envelope": MessageEnvelope,
    "batch": Annotated[list[MessageEnvelope], Field(min_length=1)],
    "outcome": Outcome,
    "status": StatusChanged,
    "gap": GapAnnounced,
    "notice": Notice,
    "instance": Instance,
}


class _Generator(GenerateJsonSchema):
    """Without titles, which would only repeat the names. What is written always has all its fields."""

    @override
    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    @override
    def field_is_required(self, field: Any, total: bool) -> bool:
        return self.mode == "serialization" or super().field_is_required(field, total)


def _command() -> dict[str, Any]:
    """The command as it is published: `command` tells what it is."""
    document = _read(COMMAND_ADAPTER)
    for name in document["discriminator"]["mapping"].values():
        model = document["$defs"][name.rpartition("/")[2]]
        model["required"] = ["command", *model.get("required", ())]
    return document


def _read(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    return _named(adapter.json_schema(by_alias=True, schema_generator=_Generator))


def _written(adapter: TypeAdapter[Any]) -> dict[str, Any]:
    return _named(adapter.json_schema(by_alias=True, schema_generator=_Generator, mode="serialization"))


def _named(document: dict[str, Any]) -> dict[str, Any]:
    return {"$schema": _Generator.schema_dialect, **document}


SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "command": _command,
    "options": lambda: _read(TypeAdapter(WebSocketOptions)),
    **{name: partial(_written, TypeAdapter(model)) for name, model in _WRITTEN.items()},
}
