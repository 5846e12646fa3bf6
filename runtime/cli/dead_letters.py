"""`dead-letters`: what was refused for good, and another try for it."""

from __future__ import annotations

from typing import Annotated

import typer

from runtime.cli.arguments import Json
from runtime.cli.calls import EXIT_REFUSED, end_with, print_json, talk


def dead_letters(
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]…", help="of what was refused; else all")] = None,
    replay: Annotated[bool, typer.Option("--replay", help="take them in again, as if they came now")] = False,
    as_json: Json = False,
) -> None:
    """List what was refused for good, or replay it."""
    from runtime.cli.tables import dead_letters_table

    if replay:
        return _replay(ids, as_json=as_json)
    views = talk(lambda client: client.read_many("deadLetters", ids=ids))
    if as_json:
        for view in views:
            print_json(view)
    elif views:
        dead_letters_table(views)
    missing = [f"no dead letter '{id_}' is there" for id_ in ids or () if id_ not in {view["id"] for view in views}]
    return end_with(missing, EXIT_REFUSED) if missing else None


def _replay(ids: list[str] | None, *, as_json: bool) -> None:
    result = talk(lambda client: client.read_one("replayDeadLetters", ids=ids))
    if as_json:
        print_json(result)
    else:
        for id_ in result["replayed"]:
            typer.echo(f"replayed {id_}")
    failures = [f"{refused['id']} is refused again: {refused['reason']}" for refused in result["refused"]]
    failures += [f"no dead letter '{id_}' is there" for id_ in result["notFound"]]
    if failures:
        end_with(failures, EXIT_REFUSED)
