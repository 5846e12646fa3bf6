"""The command `wsm`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typing_extensions import override

from runtime.cli import check, commands, dead_letters, declare, doctor, reading, server


class Wsm(TyperGroup):
    """The group of commands; `run` is made when it is called for."""

    @override
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[:1] == ["run"]:
            self.add_command(server.run_command(), "run")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Wsm,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Manage outbound WebSocket connections.",
)

_PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Run": {"run": server.run, "demo": server.demo},
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
        "drain": commands.drain,
    },
    "Look": {
        "list": reading.list_,
        "show": reading.show,
        "instances": reading.instances,
        "outcome": reading.outcome,
        "dead-letters": dead_letters.dead_letters,
        "tail": reading.tail,
        "export": declare.export,
        "check": check.check,
        "doctor": doctor.doctor,
        "schema": reading.schema,
    },
}
for _panel, _functions in _PANELS.items():
    for _name, _function in _functions.items():
        app.command(_name, help=server.RUN_HELP if _name == "run" else None, rich_help_panel=_panel)(_function)


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
