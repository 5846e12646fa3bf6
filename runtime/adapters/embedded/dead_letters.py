"""Dead letters in a file that only its owner may read: one JSON object a line, whole enough to be replayed."""

from __future__ import annotations

import asyncio
import os
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import orjson

from runtime.errors import StoreError
from runtime.models.events import Event


class DeadLetterFile:
    """Appends and takes back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = asyncio.Lock()

    async def add(self, event: Event) -> None:
        """Append one. Raises StoreError."""
        async with self._lock:
            await asyncio.to_thread(self._append, orjson.dumps(_to_line(event)) + b"\n")

    def read(self) -> list[Event]:
        """All that are there; a torn last line is left out."""
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        events = []
        for line in lines:
            try:
                events.append(_from_line(orjson.loads(line)))
            except (orjson.JSONDecodeError, KeyError, TypeError):
                continue
        return events

    def _append(self, line: bytes) -> None:
        try:
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            try:
                os.write(file, line)
            finally:
                os.close(file)
        except OSError as error:
            raise StoreError(f"a dead letter could not be kept: {error.strerror}") from error


def _to_line(event: Event) -> dict[str, Any]:
    return {
        "id": event.id,
        "topic": event.topic,
        "type": event.type,
        "subject": event.subject,
        "time": event.time,
        "contentType": event.content_type,
        "dataBase64": b64encode(event.data).decode(),
    }


def _from_line(line: dict[str, Any]) -> Event:
    return Event(
        line["id"],
        line["topic"],
        line["type"],
        line["subject"],
        line["time"],
        b64decode(line["dataBase64"]),
        line["contentType"],
    )
