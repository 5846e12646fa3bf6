"""`apply` and `export`: a YAML list of connections, made so by idempotent commands."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
import yaml

from runtime.cli.client import EXIT_REFUSED, CallFailed, Client, fail
from runtime.cli.commands import Json
from runtime.errors import InvalidInputError
from runtime.models.commands import Connect
from runtime.models.options import WebSocketOptions

FIELDS = ("id", "url", "topic", "autoReconnect", "tags", "options")


class BadFile(Exception):
    """The file cannot be applied: what is wrong, and where."""


@dataclass(frozen=True, slots=True)
class Change:
    """One connection, what becomes of it, and the command that makes it so (None when nothing has to be done)."""

    id: str
    what: str
    method: str | None = None
    body: dict[str, Any] | None = None


def read_file(text: str) -> list[Connect]:
    """Validate a whole file before anything is sent. Raises BadFile."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BadFile(f"not YAML: {error}") from None
    items = document.get("connections") if isinstance(document, dict) else document
    if not isinstance(items, list):
        raise BadFile("must be a list of connections, or have one under the key 'connections'")
    wanted: dict[str, Connect] = {}
    for index, item in enumerate(items):
        connect = _read_item(index, item)
        assert connect.id is not None
        if connect.id in wanted:
            raise BadFile(f"connection {index + 1}: the id '{connect.id}' is there twice")
        wanted[connect.id] = connect
    return list(wanted.values())


def _read_item(index: int, item: object) -> Connect:
    where = f"connection {index + 1}"
    if not isinstance(item, dict) or not item.get("id"):
        raise BadFile(f"{where}: must be a mapping with an id")
    try:
        connect: Connect = Connect.read(item)
    except InvalidInputError as error:
        raise BadFile(f"{where} ('{str(item['id'])[:128]}'): {error}") from None
    if connect.warnings:
        raise BadFile(f"{where} ('{connect.id}'): {connect.warnings[0]}; its fields are {', '.join(FIELDS)}")
    return connect


def plan(wanted: list[Connect], views: list[dict[str, Any]], *, prune: bool) -> list[Change]:
    """What has to be done so that the connections are as wanted."""
    existing = {view["id"]: view for view in views}
    changes = [_change(connect, existing.pop(str(connect.id), None)) for connect in wanted]
    if prune:
        changes += [Change(id_, "removed", "disconnect", {"id": id_}) for id_ in sorted(existing)]
    return changes


def _change(connect: Connect, view: dict[str, Any] | None) -> Change:
    id_ = str(connect.id)
    body = {key: value for key, value in connect.to_wire().items() if key in FIELDS}
    if view is None:
        return Change(id_, "created", "connect", body)
    current = {key: view.get(key) for key in FIELDS}
    current["options"] = WebSocketOptions.read(view.get("options") or {}).to_wire()
    differing = [key for key in FIELDS if current[key] != body[key]]
    if not differing:
        return Change(id_, "unchanged")
    if differing == ["tags"]:
        return Change(id_, "changed", "setTags", {"id": id_, "tags": connect.tags})
    if differing == ["topic"]:
        if connect.topic is None:
            return Change(id_, "changed", "stopPublish", {"id": id_})
        return Change(id_, "changed", "startPublish", {"id": id_, "topic": connect.topic})
    return Change(id_, "changed", "connect", body | {"replace": True})


def apply(
    file: Annotated[Path, typer.Argument(help="YAML; - is standard input")],
    prune: Annotated[bool, typer.Option("--prune", help="disconnect what is not in the file")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    as_json: Json = False,
) -> None:
    """Make the connections as a file says."""
    try:
        text = typer.get_text_stream("stdin").read() if str(file) == "-" else file.read_text()
        wanted = read_file(text)
    except (OSError, UnicodeDecodeError) as error:
        typer.echo(f"error: {file} cannot be read: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from None
    except BadFile as error:
        typer.echo(f"error: {file}: {error}; nothing was changed", err=True)
        raise typer.Exit(EXIT_REFUSED) from None
    try:
        failures = asyncio.run(_apply(wanted, prune=prune, dry_run=dry_run, as_json=as_json))
    except CallFailed as failed:
        raise fail(failed) from None
    if failures:
        raise typer.Exit(EXIT_REFUSED)


async def _apply(wanted: list[Connect], *, prune: bool, dry_run: bool, as_json: bool) -> int:
    failures = 0
    async with Client() as client:
        changes = plan(wanted, await client.call("connections", full=True), prune=prune)
        for change in changes:
            reason = None
            if change.method is not None and not dry_run:
                outcome = await client.call(change.method, **(change.body or {}))
                reason = outcome["reason"] if outcome["status"] == "rejected" else None
            failures += reason is not None
            _say(change, reason, dry_run=dry_run, as_json=as_json)
    return failures


def _say(change: Change, reason: str | None, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        what = "failed" if reason else change.what
        document = {"id": change.id, "what": what, "reason": reason, "dryRun": dry_run}
        typer.echo(orjson.dumps(document).decode())
    elif reason is not None:
        typer.echo(f"error: {change.id}: {reason}", err=True)
    else:
        typer.echo(f"{'would be ' if dry_run and change.method else ''}{change.what} {change.id}")


def export(as_json: Json = False) -> None:
    """Print all connections in the form that `apply` reads."""

    async def read() -> Any:
        async with Client() as client:
            return await client.call("connections", full=True)

    try:
        views = asyncio.run(read())
    except CallFailed as failed:
        raise fail(failed) from None
    items = [{key: view[key] for key in FIELDS} for view in views if view.get("status")]
    if as_json:
        typer.echo(orjson.dumps({"connections": items}).decode())
        return
    typer.echo("# Holds whole URLs: whatever secrets are in them are here too.")
    typer.echo(yaml.safe_dump({"connections": items}, sort_keys=False, allow_unicode=True), nl=False)
