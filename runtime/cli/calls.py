"""How a command talks to the manager, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NoReturn, TypeVar

import orjson
import typer

if TYPE_CHECKING:
    from runtime.cli.client import Client

EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE, EXIT_TIMEOUT = 1, 2, 3, 4
T = TypeVar("T")


class CallFailed(Exception):
    """A call that did not bring an answer; `exit_code` is what the command ends with."""

    def __init__(self, message: str, exit_code: int, status: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.status = status


def talk(conversation: Callable[[Client], Awaitable[T]]) -> T:
    """Have a conversation with the manager. A call that fails ends the command with its reason and code."""
    from pydantic import ValidationError

    from runtime.cli.client import Client
    from runtime.settings import EndpointSettings

    async def have() -> T:
        async with Client(settings) as client:
            return await conversation(client)

    try:
        settings = EndpointSettings()
    except ValidationError as error:
        end_with(EndpointSettings.explain(error), EXIT_USAGE)
    try:
        return asyncio.run(have())
    except CallFailed as failed:
        end_with([str(failed)], failed.exit_code)


def end_with(reasons: list[str], exit_code: int) -> NoReturn:
    """Say why on standard error, and end."""
    for reason in reasons:
        typer.echo(f"error: {reason}", err=True)
    raise typer.Exit(exit_code)


def print_json(document: object) -> None:
    """One JSON document on one line of standard output."""
    typer.echo(orjson.dumps(document))
