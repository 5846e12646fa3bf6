"""The commands that only look: list, show, instances, outcome, tail, schema."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from runtime.cli.arguments import Id, Json, TagOption, tags_of
from runtime.cli.calls import EXIT_REFUSED, EXIT_TIMEOUT, CallFailed, print_json, talk

if TYPE_CHECKING:
    from runtime.cli.client import Client


def list_(
    tag: TagOption = None,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Connected, Connecting, Reconnecting or Disconnected")
    ] = None,
    as_json: Json = False,
) -> None:
    """List connections."""
    from runtime.cli.tables import connections_table

    tags = tags_of(tag)
    views = talk(lambda client: client.read_many("connections", tag=tags, status=status))
    if not as_json:
        return connections_table(views)
    for view in views:
        print_json(view)
    return None


def show(id_: Id, as_json: Json = False) -> None:
    """Show one connection with its options and last outcomes."""
    from runtime.cli.tables import print_connection

    view = talk(lambda client: client.read_one("connection", id=id_))
    return print_json(view) if as_json else print_connection(view)


def instances(as_json: Json = False) -> None:
    """List the hosts."""
    from runtime.cli.tables import instances_table

    views = talk(lambda client: client.read_many("instances"))
    if not as_json:
        return instances_table(views)
    for view in views:
        print_json(view)
    return None


def outcome(
    id_: Id,
    command_id: Annotated[str, typer.Argument(metavar="COMMAND-ID", help="commandId of the command")],
    as_json: Json = False,
) -> None:
    """Tell how a command ended."""
    found = talk(lambda client: client.command("outcome", id=id_, commandId=command_id))
    return print_json(found) if as_json else typer.echo(f"{found['status']}: {found['reason']}")


def tail(
    topics: Annotated[
        list[str] | None, typer.Argument(metavar="[TOPIC]…", help="else all topics; by a sidecar those of events")
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, metavar="N", help="stop after so many")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, metavar="SECONDS", help="stop after so long")] = None,
    resources: Annotated[
        Path | None,
        typer.Option(
            envvar="WSM_RESOURCES",
            metavar="FOLDER",
            help="components for the sidecar that it starts with the profile dapr; else components/local",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print envelopes and events as they come. Ctrl-C ends it."""
    try:
        talk(lambda client: _tail(client, topics or [], count, timeout, resources, as_json=as_json))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise typer.Exit(0) from None


async def _tail(
    client: Client,
    topics: list[str],
    count: int | None,
    timeout_s: float | None,
    resources: Path | None,
    *,
    as_json: bool,
) -> None:
    from rich.console import Console

    from runtime.adapters.event_lines import event_line
    from runtime.cli.sidecar_tail import events_from_here

    console = Console(soft_wrap=True, highlight=False)
    seen = 0
    try:
        async with asyncio.timeout(timeout_s), aclosing(events_from_here(client, topics, resources)) as events:
            async for event in events:
                if as_json:
                    print_json(event)
                else:
                    console.print(event_line(event))
                seen += 1
                if seen == count:
                    return
    except TimeoutError:
        if count is None:
            return
        raise CallFailed(f"{seen} of {count} events came within {timeout_s:g} s", EXIT_TIMEOUT) from None
    raise CallFailed("the manager has ended the stream", EXIT_REFUSED)


def schema(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="of the model; without it, all names")] = None,
    as_json: Json = False,
) -> None:
    """Print the JSON Schema of a model."""
    from runtime.models.schemas import SCHEMAS

    if name is None:
        return print_json(list(SCHEMAS)) if as_json else typer.echo("\n".join(SCHEMAS))
    if name not in SCHEMAS:
        raise typer.BadParameter(f"there are {', '.join(SCHEMAS)}")
    document = SCHEMAS[name]()
    return print_json(document) if as_json else typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
