"""The commands that change something: one call, one outcome."""

from __future__ import annotations

import asyncio
import sys
from base64 import b64encode
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import orjson
import typer

from runtime.cli.client import EXIT_REFUSED, EXIT_TIMEOUT, CallFailed, Client, fail

Json = Annotated[bool, typer.Option("--json", help="print one JSON document, nothing else")]
Id = Annotated[str, typer.Argument(metavar="ID", help="id of the connection")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="K=V", help="a tag; may be repeated")]
SEND_PATIENCE_S = 70.0


def tags_of(pairs: list[str] | None) -> dict[str, str] | None:
    """Read K=V pairs. Raises BadParameter."""
    if not pairs:
        return None
    for pair in pairs:
        if not pair.partition("=")[1] or pair.startswith("="):
            raise typer.BadParameter(f"'{pair}' is not of the form KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def options_of(text: str | None) -> dict[str, Any] | None:
    """Read --options: JSON, or @FILE that holds it. Raises BadParameter."""
    if text is None:
        return None
    try:
        options = orjson.loads(Path(text[1:]).read_bytes() if text.startswith("@") else text)
    except OSError as error:
        raise typer.BadParameter(f"{text[1:]} cannot be read: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"--options is not JSON: {error}") from None
    if not isinstance(options, dict):
        raise typer.BadParameter("--options must be a JSON object")
    return options


def connect(
    url: Annotated[str, typer.Argument(help="ws:// or wss:// URL")],
    id_: Annotated[str | None, typer.Option("--id", help="id; made up if left out")] = None,
    topic: Annotated[str | None, typer.Option(help="topic of its frames")] = None,
    auto_reconnect: Annotated[bool, typer.Option("--auto-reconnect", help="dial again after a loss")] = False,
    tag: TagOption = None,
    options: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="options of the connection")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="change a connection that exists")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="until it is Connected or has ended")] = False,
    wait_timeout: Annotated[float, typer.Option(help="seconds for --wait")] = 30.0,
    as_json: Json = False,
) -> None:
    """Make a connection, or confirm one."""
    body = {
        "id": id_,
        "url": url,
        "topic": topic,
        "autoReconnect": auto_reconnect,
        "tags": tags_of(tag),
        "options": options_of(options),
        "replace": replace,
    }
    asyncio.run(_run("connect", body, as_json, wait_s=wait_timeout if wait else None))


def disconnect(
    id_: Id, keep: Annotated[bool, typer.Option("--keep", help="keep the record")] = False, as_json: Json = False
) -> None:
    """Close a connection and remove it."""
    asyncio.run(_run("disconnect", {"id": id_, "keep": keep}, as_json))


def reconnect(id_: Id, as_json: Json = False) -> None:
    """Close a connection and dial again; revives what has ended."""
    asyncio.run(_run("reconnect", {"id": id_}, as_json))


def start_publish(id_: Id, topic: str, as_json: Json = False) -> None:
    """Set the topic of a connection."""
    asyncio.run(_run("startPublish", {"id": id_, "topic": topic}, as_json))


def stop_publish(id_: Id, as_json: Json = False) -> None:
    """Clear the topic of a connection."""
    asyncio.run(_run("stopPublish", {"id": id_}, as_json))


def tag(
    id_: Id, pairs: Annotated[list[str] | None, typer.Argument(metavar="K=V…")] = None, as_json: Json = False
) -> None:
    """Replace the tags of a connection; without any, clear them."""
    asyncio.run(_run("setTags", {"id": id_, "tags": tags_of(pairs) or {}}, as_json))


def send(
    id_: Id,
    text: Annotated[str | None, typer.Argument(help="the message")] = None,
    file: Annotated[str | None, typer.Option(help="take the message from a file; - is standard input")] = None,
    binary: Annotated[bool, typer.Option("--binary", help="send a binary message")] = False,
    as_json: Json = False,
) -> None:
    """Send a message and wait until it was sent."""
    body = {"id": id_, "message": _message(text, file, binary=binary)}
    asyncio.run(_run("send", body, as_json, end_s=SEND_PATIENCE_S))


def request(
    id_: Id,
    text: Annotated[str, typer.Argument(help="the message")],
    match: Annotated[str | None, typer.Option(metavar="JSON-POINTER", help="where the answer repeats it")] = None,
    timeout: Annotated[float | None, typer.Option(help="seconds to wait for the answer")] = None,
    reply_topic: Annotated[str | None, typer.Option(help="topic for the answer")] = None,
    as_json: Json = False,
) -> None:
    """Send a message and print its answer."""
    body = {
        "id": id_,
        "message": text,
        "match": {"pointer": match} if match is not None else None,
        "timeoutS": timeout,
        "replyTopic": reply_topic,
    }
    asyncio.run(_run("request", body, as_json, end_s=(timeout or 10) + SEND_PATIENCE_S))


def _message(text: str | None, file: str | None, *, binary: bool) -> dict[str, Any]:
    if (text is None) == (file is None):
        raise typer.BadParameter("give either TEXT or --file")
    if file is None:
        data = (text or "").encode()
    else:
        try:
            data = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        except OSError as error:
            raise typer.BadParameter(f"{file} cannot be read: {error.strerror}") from None
    if binary:
        return {"data": b64encode(data).decode(), "binary": True}
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        raise typer.BadParameter("this is not UTF-8 text: use --binary") from None


async def _run(
    method: str, body: dict[str, Any], as_json: bool, *, wait_s: float | None = None, end_s: float | None = None
) -> None:
    """Call, wait as far as asked, print, and end with the right code."""
    command_id = str(uuid4())
    try:
        async with Client() as client:
            outcome = await client.call(method, commandId=command_id, **body)
            _warn(outcome)
            if end_s is not None and outcome["status"] == "accepted":
                outcome = await client.end_of(command_id, body["id"], end_s)
            view = None
            if wait_s is not None and outcome["status"] == "accepted":
                view = await _until_connected(client, outcome["connectionId"], wait_s)
    except CallFailed as failed:
        raise fail(failed) from None
    _print(outcome, as_json)
    if outcome["status"] in {"rejected", "unknown"}:
        raise typer.Exit(EXIT_REFUSED)
    if view is not None and view["status"] != "Connected":
        typer.echo(f"error: the connection has ended: {view['lastError']}", err=True)
        raise typer.Exit(EXIT_REFUSED)


async def _until_connected(client: Client, connection_id: str, patience_s: float) -> dict[str, Any]:
    view: dict[str, Any] = {}
    try:
        async with asyncio.timeout(patience_s):
            while True:
                view = await client.call("connection", id=connection_id)
                if view["status"] == "Connected" or view["generation"] <= view["endedGeneration"]:
                    return view
                await asyncio.sleep(0.1)
    except TimeoutError:
        why = f": {view['lastError']}" if view.get("lastError") else ""
        text = f"'{connection_id}' is {view.get('status')} after {patience_s:g} s{why}"
        raise CallFailed(text, EXIT_TIMEOUT) from None


def _warn(outcome: dict[str, Any]) -> None:
    for warning in outcome.get("warnings", ()):
        typer.echo(f"warning: {warning}", err=True)
    if outcome["status"] == "superseded":
        typer.echo(f"warning: {outcome['reason']}", err=True)


def _print(outcome: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(orjson.dumps(outcome).decode())
    if outcome["status"] in {"rejected", "unknown"}:
        typer.echo(f"error: {outcome['reason']}", err=True)
    elif not as_json:
        answer = outcome.get("answer")
        typer.echo(answer if answer is not None else f"{outcome['connectionId']}: {outcome['reason']}")
