"""The command `wsm`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Manage outbound WebSocket connections.")


@app.command()
def run(
    data: Annotated[Path | None, typer.Option(help="data folder of the embedded profile")] = None,
    sink: Annotated[str | None, typer.Option(help="stdout, or a URL that takes CloudEvents")] = None,
    port: Annotated[int | None, typer.Option(help="port of the endpoint")] = None,
    allow_private: Annotated[bool | None, typer.Option("--allow-private", help="dial private networks too")] = None,
) -> None:
    """Run the manager until SIGTERM."""
    from runtime.app import run_app
    from runtime.settings import Settings

    given: dict[str, Any] = {"data": data, "sink": sink, "port": port, "allow_private": allow_private}
    raise typer.Exit(run_app(Settings(**{key: value for key, value in given.items() if value is not None})))


@app.command()
def demo() -> None:
    """Show a connection's whole life in about 15 seconds."""
    from runtime.demo import run_demo

    raise typer.Exit(run_demo())


def main() -> None:
    """Run the command."""
    app()
