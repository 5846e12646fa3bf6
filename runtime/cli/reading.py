"""The commands that only look: list, show, instances, outcome, tail, check, schema."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runtime.cli.client import EXIT_REFUSED, EXIT_TIMEOUT, CallFailed, Client, fail
from runtime.cli.commands import Id, Json, TagOption, tags_of
from runtime.cli.render import event_line

_COLOUR = {"Connected": "green", "Connecting": "yellow", "Reconnecting": "yellow", "Disconnected": "red"}


def list_(
    tag: TagOption = None,
    status: Annotated[str | None, typer.Option(help="Connected, Connecting, Reconnecting or Disconnected")] = None,
    as_json: Json = False,
) -> None:
    """List connections."""
    views = asyncio.run(_ask("connections", tag=tags_of(tag), status=status))
    if as_json:
        return _lines(views)
    table = Table("ID", "STATUS", "TOPIC", "OWNER", "LAST FRAME", "URL", "LAST ERROR", box=None)
    for view in views:
        shown = view["status"] or "unreadable"
        table.add_row(
            escape(view["id"]),
            f"[{_COLOUR.get(shown, 'red')}]{shown}[/]",
            *(escape(str(view.get(key) or "")) for key in ("topic", "instanceId", "lastFrameAt", "url", "lastError")),
        )
    return Console(soft_wrap=True).print(table)


def show(id_: Id, as_json: Json = False) -> None:
    """Show one connection with its options and last outcomes."""
    view = asyncio.run(_ask("connection", id=id_))
    if as_json:
        return typer.echo(orjson.dumps(view).decode())
    return Console(soft_wrap=True).print_json(orjson.dumps(view).decode())


def instances(as_json: Json = False) -> None:
    """List the hosts."""
    views = asyncio.run(_ask("instances"))
    if as_json:
        return _lines(views)
    table = Table("ID", "CONNECTIONS", "BEAT", "VERSION", "STARTED", box=None)
    for view in views:
        table.add_row(*(escape(str(view[key])) for key in ("id", "load", "beat", "version", "startedAt")))
    return Console(soft_wrap=True).print(table)


def outcome(id_: Id, command_id: Annotated[str, typer.Argument(metavar="COMMAND-ID")], as_json: Json = False) -> None:
    """Tell how a command ended."""
    found = asyncio.run(_ask("outcome", id=id_, commandId=command_id))
    typer.echo(orjson.dumps(found).decode() if as_json else f"{found['status']}: {found['reason']}")


def tail(
    topics: Annotated[list[str] | None, typer.Argument(metavar="[TOPIC]…")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="stop after so many")] = None,
    timeout: Annotated[float | None, typer.Option(min=0, help="stop after so many seconds")] = None,
    as_json: Json = False,
) -> None:
    """Print envelopes and events as they come."""
    try:
        asyncio.run(_tail(topics or [], count, timeout, as_json=as_json))
    except CallFailed as failed:
        raise fail(failed) from None
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def check(
    url: Annotated[str, typer.Argument(help="ws:// or wss:// URL")],
    allow_private: Annotated[bool, typer.Option("--allow-private", help="as `wsm run --allow-private`")] = False,
    as_json: Json = False,
) -> None:
    """Tell what the guard says of a URL, without dialling."""
    from runtime.adapters.check import check_url

    result = asyncio.run(check_url(url, allow_private=allow_private))
    if as_json:
        addresses = [{"address": address, "refusedBy": rule} for address, rule in result.addresses]
        document = {"allowed": result.allowed, "reason": result.reason, "addresses": addresses}
        typer.echo(orjson.dumps(document).decode())
    else:
        for address, rule in result.addresses:
            typer.echo(f"{address}: {'refused, ' + rule if rule else 'may be dialled'}")
    if not result.allowed:
        typer.echo(f"refused: {result.reason}", err=True)
        raise typer.Exit(EXIT_REFUSED)
    if not as_json:
        typer.echo(result.reason)


def schema(name: Annotated[str, typer.Argument(help="command, record, envelope, outcome, options …")]) -> None:
    """Print the JSON Schema of a model."""
    from runtime.models.schemas import SCHEMAS

    if name not in SCHEMAS:
        raise typer.BadParameter(f"there are {', '.join(SCHEMAS)}")
    typer.echo(orjson.dumps(SCHEMAS[name](), option=orjson.OPT_INDENT_2).decode())


async def _ask(method: str, **body: Any) -> Any:
    try:
        async with Client() as client:
            return await client.call(method, **body)
    except CallFailed as failed:
        raise fail(failed) from None


async def _tail(topics: list[str], count: int | None, timeout_s: float | None, *, as_json: bool) -> None:
    seen = 0
    console = Console(soft_wrap=True, highlight=False)
    try:
        async with asyncio.timeout(timeout_s), Client() as client:
            async for event in client.tail(topics):
                if as_json:
                    typer.echo(orjson.dumps(event).decode())
                else:
                    console.print(event_line(event))
                seen += 1
                if seen == count:
                    return
    except TimeoutError:
        if count is not None:
            raise CallFailed(f"{seen} of {count} events came within {timeout_s:g} s", EXIT_TIMEOUT) from None


def _lines(views: list[Any]) -> None:
    for view in views:
        typer.echo(orjson.dumps(view).decode())
