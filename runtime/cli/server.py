"""The commands that run something: `run`, whose options are the settings, and `demo`."""

from __future__ import annotations

from inspect import Parameter, Signature
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperCommand

from runtime.cli.calls import EXIT_USAGE, end_with

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

RUN_HELP = "Run the manager until SIGTERM."
_MORE_HELP = (
    "Each option may also come from the environment: WSM_PORT stands for --port, and so on; the option wins. "
    "What is secret comes from there only, since others can see a command line: "
)


def run() -> None:
    """Stand in for the command that `run_command` makes, in the list of commands."""


def run_command() -> TyperCommand:
    """`wsm run` with an option for every setting: made when it is called for, since reading the settings costs."""
    from pydantic import SecretStr

    from runtime.settings import GuardSettings, Settings

    shared = GuardSettings.model_fields  # named by Settings first, but not what one looks for first
    fields = dict(sorted(Settings.model_fields.items(), key=lambda item: item[0] in shared))
    secrets = [name for name, field in fields.items() if SecretStr in get_args(field.annotation)]
    shown = {name: field for name, field in fields.items() if name not in secrets}

    def run(context: typer.Context, **values: Any) -> None:
        given = {name: value for name, value in values.items() if _is_given(context, name)}
        raise typer.Exit(_run(given))

    context = Parameter("context", Parameter.KEYWORD_ONLY, annotation=typer.Context)
    options = [_option(name, field) for name, field in shown.items()]
    vars(run)["__signature__"] = Signature([context, *options])  # what typer reads
    told = "; ".join(f"{Settings.variables(name)[0]} ({fields[name].description})" for name in secrets)
    app = typer.Typer(add_completion=False, rich_markup_mode=None)  # rich would cut the longer names short
    app.command("run", help=f"{RUN_HELP} {_MORE_HELP}{told}.")(run)
    command = typer.main.get_command(app)
    assert isinstance(command, TyperCommand)
    return command


def _option(name: str, field: FieldInfo) -> Parameter:
    from runtime.settings import option

    flag = f"{option(name)}/--no-{option(name)[2:]}" if field.annotation is bool else option(name)
    metavar = "SECONDS" if name.endswith("_s") else None
    annotation = Annotated[field.annotation, typer.Option(flag, metavar=metavar, help=field.description)]  # type: ignore[name-defined]
    return Parameter(name, Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation)


def _is_given(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def _run(given: dict[str, Any]) -> int:
    from pydantic import ValidationError

    from runtime.settings import Settings

    try:
        settings = Settings(**given)
    except ValidationError as error:
        end_with(Settings.explain(error, given), EXIT_USAGE)
    from runtime.app import run_app

    return run_app(settings)


def demo() -> None:
    """Show a connection's whole life in about 15 seconds."""
    from runtime.demo import run_demo

    raise typer.Exit(run_demo())
