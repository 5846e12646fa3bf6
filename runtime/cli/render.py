"""How an event looks to a person."""

from __future__ import annotations

from typing import Any

from rich.markup import escape

_COLOURS = {"frame": "cyan", "status": "green", "gap": "yellow", "outcome": "magenta", "notice": "red"}
_SHOWN = 160


def event_line(event: dict[str, Any]) -> str:
    """One CloudEvent as one line of rich markup."""
    kind = str(event.get("type", "")).rpartition(".")[2]
    data = event.get("data")
    text = data_text(kind, data) if isinstance(data, dict) else str(data)
    time, topic = escape(str(event.get("time", ""))[11:23]), escape(str(event.get("topic", "")))
    return f"[dim]{time}[/] [{_COLOURS.get(kind, 'white')}]{kind:8}[/] [dim]{topic}[/] {escape(text)}"


def data_text(kind: str, data: dict[str, Any]) -> str:
    """What an event says, without markup."""
    match kind:
        case "frame":
            return f"{data['websocketId']} #{data['epoch']}.{data['sequence']} {_short(data['payload'])}"
        case "status":
            attempt = f", attempt {data['attempt']} in {data['retryInS']:.1f} s" if data.get("attempt") else ""
            why = f" ({data['reason']}{attempt})" if data.get("reason") else ""
            return f"{data['connectionId']} {data['status']}{why}"
        case "gap" if data["kind"] == "blind":
            hole = f"from {data['fromTime'][11:23]} to {data['toTime'][11:23]}"
            return f"{data['connectionId']} blind {hole}: {data['reason']}"
        case "gap":
            return f"{data['connectionId']} dropped {data['fromSequence']} to {data['toSequence']}: {data['reason']}"
        case "outcome":
            answer = f" → {_short(data['answer'])}" if data.get("answer") is not None else ""
            return f"{data.get('connectionId') or '?'} {data['command']}: {data['status']} ({data['reason']}){answer}"
        case _:
            return _short(str(data))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text)} characters)"
