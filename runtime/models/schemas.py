"""JSON Schemas, made from the models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtime.models.commands import COMMAND_ADAPTER
from runtime.models.connection import DaprStateStoreEntry
from runtime.models.envelope import MessageEnvelope
from runtime.models.events import GapAnnounced, Notice, StatusChanged
from runtime.models.instance import Instance
from runtime.models.options import WebSocketOptions
from runtime.models.outcome import Outcome
from runtime.models.wire import WireModel

_MODELS: dict[str, type[WireModel]] = {
    "record": DaprStateStoreEntry,
    "envelope": MessageEnvelope,
    "outcome": Outcome,
    "options": WebSocketOptions,
    "status": StatusChanged,
    "gap": GapAnnounced,
    "notice": Notice,
    "instance": Instance,
}
SCHEMAS: dict[str, Callable[[], dict[str, Any]]] = {
    "command": lambda: COMMAND_ADAPTER.json_schema(by_alias=True),
    **{name: model.model_json_schema for name, model in _MODELS.items()},
}
