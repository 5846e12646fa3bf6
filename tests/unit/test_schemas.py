"""The JSON Schemas: golden facts, and a shape that JSON Schema 2020-12 allows."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from handlers import ROUTES
from runtime.models.connection import WebSocketConnection
from runtime.models.envelope import MessageEnvelope
from runtime.models.options import WebSocketOptions
from runtime.models.schemas import SCHEMAS

TYPES = {"object", "array", "string", "number", "integer", "boolean", "null"}
OF_SCHEMAS = {"properties", "patternProperties", "$defs"}
OF_SCHEMA = {"items", "additionalProperties", "propertyNames"}
LISTS = {"anyOf", "oneOf"}
WORDS = {
    *OF_SCHEMAS, *OF_SCHEMA, *LISTS, "$schema", "$ref", "type", "enum", "const", "required", "default", "title",
    "description", "format", "pattern", "minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength", "maxItems",
    "minItems", "maxProperties",
    "discriminator",
}  # fmt: skip


def check(schema: Any, root: dict[str, Any]) -> None:
    """A schema is a boolean or an object whose keywords have the types that the meta-schema asks for."""
    if isinstance(schema, bool):
        return
    assert schema.keys() <= WORDS
    if "type" in schema:
        assert schema["type"] in TYPES
    if "$ref" in schema:
        assert schema["$ref"].removeprefix("#/$defs/") in root["$defs"]
    for word in LISTS & schema.keys():
        assert schema[word]
        for part in schema[word]:
            check(part, root)
    for word in OF_SCHEMAS & schema.keys():
        for part in schema[word].values():
            check(part, root)
    for word in OF_SCHEMA & schema.keys():
        check(schema[word], root)
    required = schema.get("required", [])
    assert len(set(required)) == len(required)
    assert set(required) <= set(schema.get("properties", required))


def names(schema: Any) -> set[str]:
    """All property names, at any depth."""
    if isinstance(schema, list):
        return set().union(*map(names, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return own.union(*map(names, schema.values()))


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_has_the_shape_of_json_schema_2020_12(name: str):
    schema = SCHEMAS[name]()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    check(schema, schema)
    assert orjson.loads(orjson.dumps(schema)) == schema


@pytest.mark.parametrize("name", SCHEMAS)
def test_names_are_those_of_the_wire(name: str):
    found = names(SCHEMAS[name]())
    assert found
    assert not {field for field in found if "_" in field or not field[0].islower()}


def test_the_command_is_a_union_told_by_its_command():
    schema = SCHEMAS["command"]()
    assert schema["discriminator"]["propertyName"] == "command"
    assert set(schema["discriminator"]["mapping"]) == set(ROUTES)
    assert len(schema["oneOf"]) == len(ROUTES)
    connect = schema["$defs"]["Connect"]
    assert connect["required"] == ["command", "url"]
    assert connect["properties"]["command"]["const"] == "connect"
    assert {"id", "url", "topic", "autoReconnect", "tags", "options", "replace"} <= connect["properties"].keys()
    assert schema["$defs"]["StartPublish"]["required"] == ["command", "id", "topic"]


def test_a_message_may_be_a_bare_string():
    message = SCHEMAS["command"]()["$defs"]["Request"]["properties"]["message"]
    assert {"type": "string"} in message["anyOf"]
    assert {"$ref": "#/$defs/Message"} in message["anyOf"]


def test_the_options_have_defaults_bounds_and_descriptions():
    schema = SCHEMAS["options"]()
    assert "required" not in schema
    attempts = schema["properties"]["reconnectAttempts"]
    assert (attempts["default"], attempts["minimum"], attempts["type"]) == (5, 0, "integer")
    assert schema["properties"]["connectTimeoutS"]["exclusiveMinimum"] == 0
    undescribed = {name for name, field in schema["properties"].items() if "description" not in field}
    assert undescribed <= {"overflow", "openingMessages"}
    assert schema["properties"].keys() == WebSocketOptions().to_wire().keys()


def test_the_envelope_always_has_all_its_fields():
    schema = SCHEMAS["envelope"]()
    now = datetime(2026, 1, 31, tzinfo=UTC)
    envelope = MessageEnvelope(
        websocket_id="a", websocket_url="ws://a", timestamp=now, payload="x", epoch=1, sequence=1
    ).to_wire()
    assert schema["required"] == list(envelope)
    assert schema["properties"]["timestamp"] == {"type": "string", "format": "date-time"}


def test_a_batch_is_envelopes_of_one_connection_at_least_one():
    schema = SCHEMAS["batch"]()
    (envelope,) = schema["$defs"].values()
    assert (schema["type"], schema["minItems"], schema["items"]) == ("array", 1, {"$ref": "#/$defs/MessageEnvelope"})
    assert envelope["required"] == SCHEMAS["envelope"]()["required"]


def test_the_record_holds_what_is_stored_and_its_status_as_a_number():
    schema = SCHEMAS["record"]()
    stored = orjson.loads(WebSocketConnection.create("a", datetime(2026, 1, 31, tzinfo=UTC)).to_json())
    assert stored.keys() <= schema["properties"].keys()
    assert schema["properties"]["status"]["type"] == "integer"
    assert "websocket" not in schema["properties"]


@pytest.mark.parametrize("name", ["outcome", "status", "gap", "notice", "instance"])
def test_what_is_written_requires_all_its_fields(name: str):
    schema = SCHEMAS[name]()
    assert set(schema["required"]) == set(schema["properties"])
