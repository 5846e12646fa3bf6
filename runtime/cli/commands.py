"""The commands that change something: one call, one outcome."""

from __future__ import annotations

import asyncio
from base64 import b64decode
from typing import TYPE_CHECKING, Annotated, Any
from uuid import uuid4

import orjson
import typer

from runtime.cli.arguments import Id, Json, TagOption, message_of, options_of, tags_of
from runtime.cli.calls import EXIT_REFUSED, EXIT_TIMEOUT, CallFailed, end_with, print_json, talk

if TYPE_CHECKING:
    from runtime.cli.client import Client

# Longest stay in an outbox, longest wait for an answer that options may set, and time for the calls themselves.
TTL_S, ANSWER_MAX_S, SPARE_S = 60.0, 300.0, 10.0
LOOK_INTERVAL_S = 0.1


def connect(
    url: Annotated[str, typer.Argument(metavar="URL", help="ws:// or wss:// URL")],
    id_: Annotated[str | None, typer.Option("--id", metavar="ID", help="id; made up if left out")] = None,
    topic: Annotated[str | None, typer.Option(metavar="TOPIC", help="topic of its frames")] = None,
    auto_reconnect: Annotated[bool, typer.Option("--auto-reconnect", help="dial again after a loss")] = False,
    tag: TagOption = None,
    options: Annotated[str | None, typer.Option(metavar="JSON|@FILE", help="see `wsm schema options`")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="change a connection that exists")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="until it is Connected or has ended")] = False,
    wait_timeout: Annotated[float, typer.Option(min=0, metavar="SECONDS", help="for --wait")] = 30.0,
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
    before = talk(lambda client: _find(client, id_)) if wait and id_ is not None else None
    outcome = _give("connect", body, as_json)
    if wait:
        view = talk(lambda client: _until_connected(client, outcome["connectionId"], before, wait_timeout))
        if view["status"] != "Connected":
            end_with([f"'{view['id']}' has ended: {view['lastError'] or 'by command'}"], EXIT_REFUSED)
        if not as_json:
            typer.echo(f"{view['id']}: Connected")


def disconnect(
    id_: Id, keep: Annotated[bool, typer.Option("--keep", help="keep the record")] = False, as_json: Json = False
) -> None:
    """Close a connection and remove it."""
    _give("disconnect", {"id": id_, "keep": keep}, as_json)


def reconnect(id_: Id, as_json: Json = False) -> None:
    """Close a connection and dial again; revives what has ended."""
    _give("reconnect", {"id": id_}, as_json)


def start_publish(
    id_: Id, topic: Annotated[str, typer.Argument(metavar="TOPIC", help="topic of its frames")], as_json: Json = False
) -> None:
    """Set the topic of a connection."""
    _give("startPublish", {"id": id_, "topic": topic}, as_json)


def stop_publish(id_: Id, as_json: Json = False) -> None:
    """Clear the topic of a connection."""
    _give("stopPublish", {"id": id_}, as_json)


def tag(
    id_: Id,
    pairs: Annotated[list[str] | None, typer.Argument(metavar="[K=V]…", help="all its tags")] = None,
    as_json: Json = False,
) -> None:
    """Replace the tags of a connection; without any, clear them."""
    _give("setTags", {"id": id_, "tags": tags_of(pairs) or {}}, as_json)


def drain(
    instance: Annotated[str, typer.Argument(metavar="INSTANCE", help="id of the host: see `wsm instances`")],
    as_json: Json = False,
) -> None:
    """Have a host hand its connections over and claim no more."""
    _give("drain", {"instance": instance}, as_json)


def send(
    id_: Id,
    text: Annotated[str | None, typer.Argument(metavar="TEXT", help="the message")] = None,
    file: Annotated[str | None, typer.Option(metavar="FILE", help="that holds the message; -: standard input")] = None,
    binary: Annotated[bool, typer.Option("--binary", help="send a binary message")] = False,
    as_json: Json = False,
) -> None:
    """Send a message and wait until it was sent."""
    message = message_of(text, file, binary=binary)
    _give("send", {"id": id_, "message": message}, as_json, end_s=TTL_S + SPARE_S)


def request(
    id_: Id,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="the message")],
    match: Annotated[
        str | None, typer.Option(metavar="JSON-POINTER", help="where the answer repeats the message")
    ] = None,
    equals: Annotated[
        str | None, typer.Option(metavar="JSON", help="what is there instead; what is no JSON is a text")
    ] = None,
    contains: Annotated[str | None, typer.Option(metavar="TEXT", help="what the answer holds")] = None,
    timeout: Annotated[float | None, typer.Option(metavar="SECONDS", help="longest wait for the answer")] = None,
    reply_topic: Annotated[str | None, typer.Option(metavar="TOPIC", help="for the answer")] = None,
    as_json: Json = False,
) -> None:
    """Send a message and print its answer: the next message, or the one that matches."""
    body = {
        "id": id_,
        "message": message_of(text, None, binary=False),
        "match": {"pointer": match, "equals": _value_of(equals), "contains": contains},
        "timeoutS": timeout,
        "ttlS": max(TTL_S, timeout) if timeout is not None else None,
        "replyTopic": reply_topic,
    }
    answer_s = ANSWER_MAX_S if timeout is None else timeout
    _give("request", body, as_json, end_s=max(TTL_S, answer_s) + answer_s + SPARE_S)


def _value_of(text: str | None) -> Any:
    """JSON, or the text itself where it is none."""
    if text is None:
        return None
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _give(method: str, body: dict[str, Any], as_json: bool, *, end_s: float | None = None) -> dict[str, Any]:
    """Give a command, wait for its end where it has a late one, print the outcome; ends the command if it is bad."""
    command_id = str(uuid4())

    async def give(client: Client) -> dict[str, Any]:
        outcome = await client.command(method, commandId=command_id, **body)
        for warning in outcome.get("warnings", ()):
            typer.echo(f"warning: {warning}", err=True)
        if end_s is not None and outcome["status"] == "accepted":
            return await client.end_of(command_id, body["id"], end_s)
        return outcome

    outcome = talk(give)
    if as_json:
        print_json(outcome)
    match outcome["status"]:
        case "unknown" if method == "request":  # it went out, and no answer came
            end_with([outcome["reason"]], EXIT_TIMEOUT)
        case "rejected" | "unknown":
            end_with([outcome["reason"]], EXIT_REFUSED)
        case "superseded":
            typer.echo(f"warning: {outcome['reason']}", err=True)
        case _:
            pass
    if not as_json:
        _print(outcome)
    return outcome


def _print(outcome: dict[str, Any]) -> None:
    answer = outcome.get("answer")
    if answer is None:
        subject = outcome["connectionId"]
        typer.echo(f"{subject}: {outcome['reason']}" if subject is not None else outcome["reason"])
    elif outcome.get("answerContentType") == "application/octet-stream":
        typer.echo(b64decode(answer), nl=False)
    else:
        typer.echo(answer)


async def _find(client: Client, connection_id: str) -> dict[str, Any] | None:
    try:
        return await client.read_one("connection", id=connection_id)
    except CallFailed as failed:
        if failed.status == 404:
            return None
        raise


async def _until_connected(
    client: Client, connection_id: str, before: dict[str, Any] | None, patience_s: float
) -> dict[str, Any]:
    """Wait for Connected or the end; `before` is what the connection was: its socket does not count after a redial."""
    view: dict[str, Any] = {}
    try:
        async with asyncio.timeout(patience_s):
            while True:
                view = await client.read_one("connection", id=connection_id)
                has_ended = view["generation"] <= view["endedGeneration"] or view["desired"] != "connected"
                if has_ended or (view["status"] == "Connected" and not _is_of_old_socket(view, before)):
                    return view
                await asyncio.sleep(LOOK_INTERVAL_S)
    except TimeoutError:
        why = f": {view['lastError']}" if view.get("lastError") else ""
        text = f"'{connection_id}' is {view.get('status', 'not known')} after {patience_s:g} s{why}"
        raise CallFailed(text, EXIT_TIMEOUT) from None


def _is_of_old_socket(view: dict[str, Any], before: dict[str, Any] | None) -> bool:
    """Whether a new dial was asked for, and the host has written nothing since."""
    if before is None or view["generation"] == before["generation"]:
        return False
    return bool(view["updatedAt"] == before["updatedAt"])
