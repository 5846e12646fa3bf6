"""Lists and single objects as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from typing import Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from runtime.adapters.event_lines import printable

_COLOURS = {
    "Connected": "green",
    "Connecting": "yellow",
    "Reconnecting": "yellow",
    "running": "green",
    "draining": "yellow",
    "silent": "red",
}
_NEVER_FOLDED = frozenset({"STATUS", "STATE", "LAST FRAME", "LAST BEAT", "STARTED", "REFUSED AT"})
_UNFOLDED = 100_000


def connections_table(views: Iterable[Mapping[str, Any]]) -> None:
    """Print connections, a line each."""
    rows = []
    for view in views:
        status = view["status"] or "unreadable"
        rest = [_cell(view, key) for key in ("topic", "instanceId")]
        last = [_time(view, "lastFrameAt"), _cell(view, "url"), _cell(view, "lastError")]
        rows.append([_cell(view, "id"), Text(status, style=_COLOURS.get(status, "red")), *rest, *last])
    _table(["ID", "STATUS", "TOPIC", "OWNER", "LAST FRAME", "URL", "LAST ERROR"], rows)


def instances_table(views: Iterable[Mapping[str, Any]]) -> None:
    """Print hosts, a line each."""
    rows = []
    for view in views:
        state = Text(str(view.get("state") or ""), style=_COLOURS.get(str(view.get("state")), ""))
        share = Text(f"{view.get('load')}/{view.get('maxConnections')}")
        beat = Text(f"{view.get('beatAgeS')} s ago")
        rows.append([_cell(view, "id"), state, share, beat, _cell(view, "version"), _time(view, "startedAt")])
    _table(["ID", "STATE", "CONNECTIONS", "LAST BEAT", "VERSION", "STARTED"], rows)


def dead_letters_table(views: Iterable[Mapping[str, Any]]) -> None:
    """Print dead letters, a line each."""
    keys = ("id", "topic", "subject", "sizeBytes", "reason")
    rows = [[_time(view, "at"), *(_cell(view, key) for key in keys)] for view in views]
    _table(["REFUSED AT", "ID", "TOPIC", "SUBJECT", "BYTES", "REASON"], rows)


def print_connection(view: Mapping[str, Any]) -> None:
    """Print one connection: a line for each thing that is known, then its options and its last outcomes."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for key, value in view.items():
        if key not in {"options", "outcomes"} and value not in (None, {}):
            grid.add_row(Text(key, style="dim"), _cell({key: _flat(value)}, key))
    options = ", ".join(f"{key} {_flat(value)}" for key, value in view["options"].items() if value != [])
    grid.add_row(Text("options", style="dim"), _cell({"": options}, ""))
    for outcome in view["outcomes"]:
        said = f"{outcome['at'][:19]} {outcome['command']}: {outcome['status']} ({outcome['reason']})"
        grid.add_row(Text("outcome", style="dim"), _cell({"": said}, ""))
    _print(grid)


def _table(titles: Sequence[str], rows: Iterable[Sequence[Text]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold", no_wrap=title in _NEVER_FOLDED)
    for row in rows:
        table.add_row(*row)
    _print(table)


def _print(table: Table) -> None:
    """Fold to the width of a terminal; where another program reads, a line stays a line."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(table)
        return
    unfolded = StringIO()
    Console(file=unfolded, width=_UNFOLDED).print(table)
    typer.echo("\n".join(line.rstrip() for line in unfolded.getvalue().splitlines()))


def _cell(view: Mapping[str, Any], key: str) -> Text:
    value = view.get(key)
    return Text("" if value is None else printable(str(value)))


def _time(view: Mapping[str, Any], key: str) -> Text:
    """A time of the wire to the second."""
    return Text(str(view.get(key) or "")[:19].replace("T", " "))


def _flat(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}={item}" for key, item in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)
