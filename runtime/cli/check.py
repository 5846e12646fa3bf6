"""The command that explains the guard: `wsm check`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.cli.arguments import Json
from runtime.cli.calls import EXIT_REFUSED, EXIT_USAGE, end_with, print_json

if TYPE_CHECKING:
    from runtime.adapters.check import CheckResult
    from runtime.guard import Guard, Verdict

_AS_RUN = "as of `wsm run`; else by the environment"


def check(
    url: Annotated[str, typer.Argument(metavar="URL", help="ws:// or wss:// URL")],
    allow_private: Annotated[bool | None, typer.Option(help=_AS_RUN)] = None,
    allow: Annotated[str | None, typer.Option(metavar="LIST", help=_AS_RUN)] = None,
    allow_only: Annotated[str | None, typer.Option(metavar="LIST", help=_AS_RUN)] = None,
    deny: Annotated[str | None, typer.Option(metavar="LIST", help=_AS_RUN)] = None,
    nat64: Annotated[str | None, typer.Option(metavar="LIST", help=_AS_RUN)] = None,
    as_json: Json = False,
) -> None:
    """Tell how a URL is read, what it resolves to, and by which rule the guard lets it pass or not. Dials nothing.

    Ends with 0 if it may be dialled from here, else with 1.
    """
    from runtime.adapters.check import check_url

    lists = {"allow_private": allow_private, "allow": allow, "allow_only": allow_only, "deny": deny, "nat64": nat64}
    guard = _guard({name: value for name, value in lists.items() if value is not None})
    result = asyncio.run(check_url(url, guard))
    if as_json:
        print_json(_document(url, result))
    else:
        _explain(url, result)
    if not result.is_allowed:
        end_with([result.reason], EXIT_REFUSED)
    if not as_json:
        typer.echo(result.reason)


def _guard(given: dict[str, Any]) -> Guard:
    """The guard as the settings have it. Ends the command if they cannot be read."""
    from pydantic import ValidationError

    from runtime.settings import GuardSettings

    try:
        return GuardSettings(**given).guard()
    except ValidationError as error:
        end_with(GuardSettings.explain(error, given), EXIT_USAGE)


def _document(url: str, result: CheckResult) -> dict[str, Any]:
    from runtime.urls import mask_url

    endpoint = result.endpoint
    return {
        "url": mask_url(url),
        "allowed": result.is_allowed,
        "reason": result.reason,
        "secure": endpoint.secure if endpoint is not None else None,
        "host": endpoint.host if endpoint is not None else None,
        "port": endpoint.port if endpoint is not None else None,
        "hostRule": result.host.rule if result.host is not None else None,
        "addresses": [
            {"address": verdict.subject, "allowed": verdict.is_allowed, "rule": verdict.rule}
            for verdict in result.addresses
        ],
    }


def _explain(url: str, result: CheckResult) -> None:
    from runtime.urls import mask_url

    _step("url", mask_url(url))
    endpoint = result.endpoint
    if endpoint is None:
        return
    is_name = endpoint.address is None
    what = "name" if is_name else "address"
    _step("read as", f"{'wss' if endpoint.secure else 'ws'} to the {what} {endpoint.host}, port {endpoint.port}")
    if is_name:
        said = _said(result.host) if result.host is not None else "no list refuses it; its addresses decide"
        _step(what, f"{endpoint.host}: {said}")
    for verdict in result.addresses:
        _step("resolves to" if is_name else what, f"{verdict.subject}: {_said(verdict)}")


def _said(verdict: Verdict) -> str:
    return f"{'allowed' if verdict.is_allowed else 'refused'}, {verdict.rule}"


def _step(name: str, text: str) -> None:
    typer.echo(f"{name:12}{text}")
