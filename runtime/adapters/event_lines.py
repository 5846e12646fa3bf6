"""How an event looks to a person: what it says in words, and the colour of its kind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import orjson
from rich.text import Text

COLOURS = {
    "frame": "cyan",
    "frames": "cyan",
    "status": "green",
    "gap": "yellow",
    "outcome": "magenta",
    "answer": "blue",
    "notice": "red",
}
MAX_SHOWN = 160
KIND_WIDTH = 8
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def kind_of(event_type: str) -> str:
    """`frame`, `status` … of a CloudEvent's type."""
    return event_type.rpartition(".")[2]


def event_line(event: Mapping[str, Any]) -> Text:
    """One CloudEvent as one line, however long."""
    kind, data = kind_of(str(event.get("type", ""))), event.get("data")
    said = text_of(kind, data) if isinstance(data, (dict, list)) else printable(_short(_foreign(data)))
    return Text.assemble(
        (printable(str(event.get("time", ""))[11:23]), "dim"),
        " ",
        (f"{printable(kind):{KIND_WIDTH}}", COLOURS.get(kind, "white")),
        " ",
        (printable(str(event.get("topic", ""))), "dim"),
        " ",
        said,
    )


def text_of(kind: str, data: Any) -> str:
    """What an event says; of a foreign one its JSON."""
    try:
        return printable(_said(kind, data))
    except (AttributeError, KeyError, IndexError, TypeError, ValueError):
        return printable(_short(_foreign(data)))


def printable(text: str) -> str:
    """Text of a peer in which nothing steers the terminal or breaks the line."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _said(kind: str, data: Any) -> str:
    match kind:
        case "frames":
            first, last = data[0], data[-1]
            numbers = f"#{first['epoch']}.{first['sequence']}-{last['sequence']}"
            return f"{first['websocketId']} {numbers} {len(data)} frames, the last {_short(_foreign(last['payload']))}"
        case "frame":
            return f"{data['websocketId']} #{data['epoch']}.{data['sequence']} {_short(_foreign(data['payload']))}"
        case "status":
            attempt = f", attempt {data['attempt']} in {data['retryInS']:.1f} s" if data.get("attempt") else ""
            why = f" ({data['reason']}{attempt})" if data.get("reason") else ""
            return f"{data['connectionId']} {data['status']}{why}"
        case "gap" if data["kind"] == "blind":
            hole = f"from {data['fromTime'][11:23]} to {data['toTime'][11:23]}"
            return f"{data['connectionId']} blind {hole}: {data['reason']}"
        case "gap":
            return f"{data['connectionId']} dropped {data['fromSequence']} to {data['toSequence']}: {data['reason']}"
        case "outcome" | "answer":
            answer = f" → {_short(data['answer'])}" if data.get("answer") is not None else ""
            return f"{data.get('connectionId') or '?'} {data['command']}: {data['status']} ({data['reason']}){answer}"
        case "notice":
            return f"{data['connectionId']}: {data['reason']}" if data.get("connectionId") else str(data["reason"])
        case _:
            return _short(_foreign(data))


def _foreign(data: object) -> str:
    try:
        return data if isinstance(data, str) else orjson.dumps(data).decode()
    except orjson.JSONEncodeError:
        return "JSON that is nested too deeply to be shown"


def _short(text: str) -> str:
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text)} characters)"
