"""What a host knows of its connections and no record says, as other processes may read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from runtime.models.wire import WireModel

Row: TypeAlias = tuple[int, int | None, int, int, int, int] | tuple[int, int | None, int, int, int, int, int]
"""Epoch, last frame at (Unix milliseconds), sequence, frames without topic, queued messages, queued bytes, and where
there are any: frames that options leave out."""

Waiting: TypeAlias = tuple[int, str]
"""Until when (Unix milliseconds), and for what."""


class VitalsPage(WireModel):
    """The key `websocket.vitals.<instance>`: the first of so many pages. The next are `…+1`, `…+2` and so on.

    `notes`: what the host says of itself. `waits`: the dials that wait.
    """

    pages: int = 1
    notes: Mapping[str, Any] = {}
    rows: Mapping[str, Row] = {}
    waits: Mapping[str, Waiting] = {}
