"""The commands that run something: run and demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from runtime.cli.client import EXIT_REFUSED, EXIT_USAGE


def run(
    profile: Annotated[str | None, typer.Option(help="embedded: no sidecar; dapr: a real sidecar")] = None,
    mode: Annotated[str | None, typer.Option(help="all, handlers or host")] = None,
    data: Annotated[Path | None, typer.Option(help="data folder of the embedded profile [.wsm]")] = None,
    sink: Annotated[str | None, typer.Option(help="stdout, or a URL that takes CloudEvents [stdout]")] = None,
    sink_mode: Annotated[str | None, typer.Option(help="binary or structured CloudEvents [binary]")] = None,
    port: Annotated[int | None, typer.Option(help="port of the endpoint, 0: any free one [3500]")] = None,
    allow_private: Annotated[
        bool | None, typer.Option("--allow-private", help="dial loopback and private networks too")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="auto, console or json [auto]")] = None,
) -> None:
    """Run the manager until SIGTERM. Every setting of `wsm settings` may also come from the environment."""
    from pydantic import ValidationError

    from runtime.app import run_app
    from runtime.errors import ManagerError
    from runtime.settings import Settings

    given: dict[str, Any] = {
        "profile": profile,
        "mode": mode,
        "data": data,
        "sink": sink,
        "sink_mode": sink_mode,
        "port": port,
        "allow_private": allow_private,
        "log_format": log_format,
    }
    try:
        settings = Settings(**{key: value for key, value in given.items() if value is not None})
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            where = ".".join(str(part) for part in problem["loc"])
            typer.echo(f"error: {where}: {problem['msg'].removeprefix('Value error, ')}", err=True)
        raise typer.Exit(EXIT_USAGE) from None
    try:
        raise typer.Exit(run_app(settings))
    except ManagerError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(EXIT_REFUSED) from None


def settings() -> None:
    """Print every setting with its variable, default and unit."""
    from pydantic_core import PydanticUndefined

    from runtime.settings import Settings

    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined) else f" [{field.default}]"
        typer.echo(f"WSM_{name.upper():24} {field.description}{default}")


def demo() -> None:
    """Show a connection's whole life in about 15 seconds."""
    from runtime.demo import run_demo

    raise typer.Exit(run_demo())
