"""What `wsm doctor` looks at: the embedded profile by its own account, the dapr profile by way of the sidecar."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import orjson

from runtime.cli.calls import CallFailed

if TYPE_CHECKING:
    from runtime.cli.client import Client


@dataclass(frozen=True, slots=True)
class Finding:
    """One line. `todo`: what helps, where something is wrong."""

    check: str
    is_well: bool
    says: str
    todo: str | None = None


async def examine(client: Client) -> AsyncIterator[Finding]:
    """All findings, in the order in which they are made. Raises CallFailed when nothing answers."""
    status, text = await client.ask("GET", "/v1.0/metadata")
    metadata = json_object(text)
    if status != 200 or "runtimeVersion" not in metadata:
        todo = "set DAPR_API_TOKEN" if status == 401 else "set DAPR_HTTP_PORT"
        yield Finding("endpoint", False, f"{client.base} is no manager or sidecar (HTTP {status})", todo)
        return
    if metadata["runtimeVersion"] == "embedded":
        findings = _embedded(client)
    else:
        from runtime.cli.sidecar_examination import SidecarExamination

        findings = SidecarExamination(client, metadata).findings()
    async for finding in findings:
        yield finding


async def _embedded(client: Client) -> AsyncIterator[Finding]:
    about = await client.read_one("about")
    yield Finding("endpoint", True, f"{client.base} answers")
    yield same_version(about, "the manager")
    lock = about.get("lock")
    yield Finding(
        "data folder",
        lock is None,
        f"{about.get('data')} is locked by the manager" if lock is None else str(lock),
        None if lock is None else "stop the manager and start it again: another may use the same folder",
    )
    away = about.get("sinkAway")
    says = f"{about.get('sink')}" + (f" cannot be reached ({away})" if away else "")
    yield Finding("sink", away is None, says, "start what takes the events, or set --sink" if away else None)
    yield await waiting_letters(client)


def same_version(about: dict[str, Any], what: str) -> Finding:
    """Whether an app is of the version of this command."""
    ours, theirs = version("websocket-manager"), about.get("version")
    if ours == theirs:
        return Finding("version", True, f"{what} is {theirs}, as is this command")
    return Finding("version", False, f"{what} is {theirs}, this command {ours}", "install the same on both sides")


async def waiting_letters(client: Client) -> Finding:
    """How many dead letters wait for a person."""
    try:
        letters = await client.read_many("deadLetters")
    except CallFailed as failed:
        return Finding("dead letters", False, str(failed), "see the log of the handlers")
    says = f"{len(letters)} wait; wsm dead-letters shows them" if letters else "none waits"
    return Finding("dead letters", True, says)


def json_object(text: bytes) -> dict[str, Any]:
    """What an answer holds; empty when it is no JSON object."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}
