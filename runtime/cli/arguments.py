"""Arguments that several commands take, and what they are read as."""

from __future__ import annotations

import sys
from base64 import b64encode
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
import typer

from runtime.cli.calls import EXIT_REFUSED, end_with

Json = Annotated[bool, typer.Option("--json", help="print JSON, nothing else")]
Id = Annotated[str, typer.Argument(metavar="ID", help="id of the connection")]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="K=V", help="a tag; may be repeated")]


def tags_of(pairs: list[str] | None) -> dict[str, str] | None:
    """Read K=V pairs. Raises BadParameter."""
    if not pairs:
        return None
    for pair in pairs:
        if "=" not in pair or pair.startswith("="):
            raise typer.BadParameter(f"'{pair}' is not of the form KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def options_of(text: str | None) -> dict[str, Any] | None:
    """Read --options: JSON, or @FILE that holds it. Raises BadParameter."""
    if text is None:
        return None
    try:
        options = orjson.loads(Path(text[1:]).read_bytes() if text.startswith("@") else text)
    except OSError as error:
        raise unreadable(text[1:], error) from None
    except orjson.JSONDecodeError as error:
        raise typer.BadParameter(f"--options is not JSON: {error}") from None
    if not isinstance(options, dict):
        raise typer.BadParameter("--options must be a JSON object")
    return options


def message_of(text: str | None, file: str | None, *, binary: bool) -> dict[str, Any]:
    """Read the message to send. Raises BadParameter; ends the command if the message fits into no outbox."""
    from runtime.models.outbox import OUTBOX_MAX_BYTES

    if (text is None) == (file is None):
        raise typer.BadParameter("give either TEXT or --file")
    limit = OUTBOX_MAX_BYTES * 3 // 4 if binary else OUTBOX_MAX_BYTES  # an outbox holds binary data as base64
    data = (text or "").encode(errors="surrogateescape") if file is None else read_file(file, limit + 1)
    if len(data) > limit:
        kind = "binary message" if binary else "message"
        end_with([f"the message is longer than {limit} bytes, the most that a {kind} may have"], EXIT_REFUSED)
    if binary:
        return {"data": b64encode(data).decode(), "binary": True}
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        raise typer.BadParameter("this is not UTF-8 text: use --binary") from None


def read_file(file: str, limit: int = -1) -> bytes:
    """The first bytes of a file; - is standard input. Raises BadParameter."""
    if file == "-":
        return _read(sys.stdin.buffer, limit)
    try:
        with Path(file).open("rb") as stream:
            return _read(stream, limit)
    except OSError as error:
        raise unreadable(file, error) from None


def unreadable(file: str, error: OSError) -> typer.BadParameter:
    """What is wrong with a file."""
    return typer.BadParameter(f"{file} cannot be read: {error.strerror}")


def _read(stream: BinaryIO, limit: int) -> bytes:
    return stream.read(limit)
