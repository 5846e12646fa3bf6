"""`doctor`: is everything there, and what to do if not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from runtime.cli.arguments import Json
from runtime.cli.calls import EXIT_REFUSED, CallFailed, print_json, talk

if TYPE_CHECKING:
    from runtime.cli.client import Client
    from runtime.cli.examination import Finding


def doctor(as_json: Json = False) -> None:
    """Tell whether everything is there, and what to do if not."""
    if not talk(lambda client: _examine(client, as_json=as_json)):
        raise typer.Exit(EXIT_REFUSED)


async def _examine(client: Client, *, as_json: bool) -> bool:
    """A line for each finding, as it comes; whether all is well."""
    from runtime.cli.examination import Finding, examine

    findings: list[Finding] = []
    try:
        async for finding in examine(client):
            _say(finding, as_json=as_json)
            findings.append(finding)
    except CallFailed as failed:
        if not findings:
            raise
        _say(Finding("endpoint", False, str(failed), "it was there a moment ago: see the logs"), as_json=as_json)
        return False
    return all(finding.is_well for finding in findings)


def _say(finding: Finding, *, as_json: bool) -> None:
    if as_json:
        print_json({"check": finding.check, "ok": finding.is_well, "says": finding.says, "todo": finding.todo})
        return
    todo = f": {finding.todo}" if finding.todo else ""
    typer.echo(f"{'✓' if finding.is_well else '✗'} {finding.check:12} {finding.says}{todo}")
