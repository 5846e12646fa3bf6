"""The command `wsm`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from runtime.cli import commands, declare, reading, server

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Manage outbound WebSocket connections.",
)

_PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Run": {"run": server.run, "demo": server.demo, "settings": server.settings},
    "Change": {
        "connect": commands.connect,
        "disconnect": commands.disconnect,
        "reconnect": commands.reconnect,
        "start-publish": commands.start_publish,
        "stop-publish": commands.stop_publish,
        "send": commands.send,
        "request": commands.request,
        "tag": commands.tag,
        "apply": declare.apply,
    },
    "Look": {
        "list": reading.list_,
        "show": reading.show,
        "instances": reading.instances,
        "outcome": reading.outcome,
        "tail": reading.tail,
        "export": declare.export,
        "check": reading.check,
        "schema": reading.schema,
    },
}
for _panel, _functions in _PANELS.items():
    for _name, _function in _functions.items():
        app.command(_name, rich_help_panel=_panel)(_function)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(version("websocket-manager"))
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_print_version, help="print the version")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command."""
    app()
