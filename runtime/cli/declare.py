"""`apply` and `export`: a YAML list of connections, made so by idempotent commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from runtime.cli.arguments import Json, read_file
from runtime.cli.calls import EXIT_REFUSED, CallFailed, end_with, print_json, talk

if TYPE_CHECKING:
    from runtime.cli.client import Client
    from runtime.cli.plan import Change


def apply(
    file: Annotated[str, typer.Argument(metavar="FILE", help="YAML; - is standard input")],
    prune: Annotated[bool, typer.Option("--prune", help="disconnect what is not in the file")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would be done")] = False,
    as_json: Json = False,
) -> None:
    """Make the connections as a file says."""
    from runtime.cli.plan import BadFile, plan, read_connections

    text = read_file(file)
    try:
        wanted = read_connections(text)
    except BadFile as error:
        end_with([f"{file}: {reason}" for reason in error.reasons] + ["nothing was changed"], EXIT_REFUSED)

    async def make(client: Client) -> int:
        views = await client.read_many("connections", full=True)
        failures = 0
        for change in plan(wanted, views, prune=prune):
            reason = None if dry_run else await _make(client, change)
            failures += reason is not None
            _say(change, reason, dry_run=dry_run, as_json=as_json)
        return failures

    if talk(make):
        raise typer.Exit(EXIT_REFUSED)


async def _make(client: Client, change: Change) -> str | None:
    """Give the commands of a change; the reason if one is refused. Raises CallFailed if the manager is away."""
    for method, body in change.commands:
        try:
            outcome = await client.command(method, **body)
        except CallFailed as failed:
            if failed.exit_code != EXIT_REFUSED:
                raise
            return str(failed)
        if outcome["status"] == "rejected":
            return str(outcome["reason"])
    return None


def _say(change: Change, reason: str | None, *, dry_run: bool, as_json: bool) -> None:
    if as_json:
        what = "failed" if reason is not None else change.what
        print_json({"id": change.id, "what": what, "fields": change.fields, "reason": reason, "dryRun": dry_run})
    if reason is not None:
        typer.echo(f"error: {change.id}: {reason}", err=True)
    elif not as_json:
        would = "would be " if dry_run and change.commands else ""
        fields = f": {', '.join(change.fields)}" if change.fields else ""
        typer.echo(f"{would}{change.what} {change.id}{fields}")


def export(as_json: Json = False) -> None:
    """Print all connections in the form that `apply` reads."""
    import yaml

    from runtime.cli.plan import exported

    views = talk(lambda client: client.read_many("connections", full=True))
    readable = [view for view in views if view["status"] is not None]
    for view in views:
        if view["status"] is None:
            typer.echo(f"warning: {view['id']} is left out: {view['lastError']}", err=True)
    document = {"connections": exported(readable)}
    if as_json:
        return print_json(document)
    typer.echo("# Holds whole URLs: whatever secrets are in them are here too.")
    return typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True), nl=False)
