"""From a file of connections and those that exist to the commands that make them agree."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import orjson
import yaml

from runtime.errors import InvalidInputError
from runtime.models.commands import Connect
from runtime.models.options import WebSocketOptions

_OF_CONNECT = ("id", "url", "topic", "autoReconnect", "tags", "options")
FIELDS = (*_OF_CONNECT, "disconnected")
_OF_LIFE = frozenset({"url", "autoReconnect", "options"})


class BadFile(Exception):
    """The file cannot be applied: what is wrong, and where."""

    def __init__(self, *reasons: str) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = list(reasons)


class Wanted(Connect):
    """An entry of the file. `disconnected`: true keeps the record and no socket; left out, that stays as it is.

    One that is to be made so is connected first, for a moment: there is no command that makes a record alone.
    """

    disconnected: bool | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One connection, what becomes of it, and the commands that make it so (none when nothing has to be done)."""

    id: str
    what: str
    fields: tuple[str, ...] = ()
    commands: tuple[tuple[str, dict[str, Any]], ...] = ()


def read_connections(text: bytes) -> list[Wanted]:
    """Validate a whole file before anything is sent. Raises BadFile with all that is wrong."""
    try:
        document = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        raise BadFile(f"line {mark.line + 1 if mark else '?'}: not YAML: {error.problem}") from None
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise BadFile(f"not YAML: {' '.join(str(error).split())}") from None
    items = document.get("connections") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise BadFile("must be a list of connections, or have one under the key 'connections'")
    wanted: dict[str | None, Wanted] = {}
    wrong: list[str] = []
    for number, item in enumerate(items, 1):
        try:
            entry = _read_item(item)
        except BadFile as error:
            id_ = f" ('{item['id'][:128]}')" if isinstance(item, dict) and isinstance(item.get("id"), str) else ""
            wrong += [f"connection {number}{id_}: {reason}" for reason in error.reasons]
            continue
        if entry.id in wanted:
            wrong.append(f"connection {number} ('{entry.id}'): this id is there twice")
        wanted[entry.id] = entry
    if wrong:
        raise BadFile(*wrong)
    return list(wanted.values())


def _read_item(item: object) -> Wanted:
    if not isinstance(item, dict):
        raise BadFile(f"must be a mapping with {', '.join(FIELDS)}")
    foreign = [str(key)[:64] for key in item if str(key).lower() not in {field.lower() for field in FIELDS}]
    wrong = [f"unknown field '{name}'; there are {', '.join(FIELDS)}" for name in foreign]
    try:
        entry: Wanted = Wanted.read(item)
    except InvalidInputError as error:
        raise BadFile(*wrong, *(f"{p.where}: {p.what}" if p.where else p.what for p in error.problems)) from None
    if entry.id is None:
        wrong.append("id: must be given")
    wrong += [f"unknown option '{name[:64]}'; see `wsm schema options`" for name in entry.options.unknown_fields]
    if wrong:
        raise BadFile(*wrong)
    return entry


def plan(wanted: list[Wanted], views: list[dict[str, Any]], *, prune: bool) -> list[Change]:
    """What has to be done so that the connections are as wanted. `views` are whole, as `connections` gives them."""
    existing = {view["id"]: view for view in views}
    changes = [_change(entry, existing.pop(str(entry.id), None)) for entry in wanted]
    if prune:
        changes += [Change(id_, "removed", (), (("disconnect", {"id": id_}),)) for id_ in sorted(existing)]
    return changes


def _change(entry: Wanted, view: dict[str, Any] | None) -> Change:
    id_, wire = str(entry.id), orjson.loads(entry.to_json())
    body = {key: wire[key] for key in _OF_CONNECT}
    disconnect = (("disconnect", {"id": id_, "keep": True}),) if entry.disconnected else ()
    if view is None:
        return Change(id_, "created", (), (("connect", body), *disconnect))
    differing = tuple(key for key in FIELDS if not _is_same(key, view, wire[key]))
    if not differing:
        return Change(id_, "unchanged")
    if not _OF_LIFE.isdisjoint(differing):  # it brings topic and tags along
        return Change(id_, "changed", differing, (("connect", body | {"replace": True}), *disconnect))
    commands: list[tuple[str, dict[str, Any]]] = []
    if "topic" in differing:
        start = ("startPublish", {"id": id_, "topic": entry.topic})
        commands.append(("stopPublish", {"id": id_}) if entry.topic is None else start)
    if "tags" in differing:
        commands.append(("setTags", {"id": id_, "tags": entry.tags}))
    if "disconnected" in differing:
        commands += disconnect or [("reconnect", {"id": id_})]
    return Change(id_, "changed", differing, tuple(commands))


def _is_same(key: str, view: dict[str, Any], wanted: Any) -> bool:
    current = view.get(key)
    if key == "disconnected":
        return wanted is None or wanted is _is_disconnected(view)
    if key != "options" or not isinstance(current, dict):
        return bool(current == wanted)
    return all(current.get(name) == value for name, value in wanted.items())


def _is_disconnected(view: dict[str, Any]) -> bool:
    """Whether a command has kept the record only."""
    return view.get("desired") == "disconnected"


def exported(views: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Connections in the form that is applied; options that have their defaults are left out."""
    defaults = orjson.loads(WebSocketOptions().to_json())
    items = []
    for view in views:
        item = {key: view[key] for key in _OF_CONNECT} | {"disconnected": _is_disconnected(view)}
        item["options"] = {key: value for key, value in item["options"].items() if defaults.get(key) != value}
        items.append({key: value for key, value in item.items() if value not in (None, {}, False)})
    return items
