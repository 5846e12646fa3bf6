"""What a host knows of its connections and no record says, as other processes may read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from runtime.models.wire import WireModel

Row: TypeAlias = tuple[int, int | None, int, int, int, int]
"""Epoch, last frame at (Unix milliseconds), sequence, frames without topic, queued messages, queued bytes."""


class VitalsPage(WireModel):
    """The key `websocket.vitals.<instance>`: the first of so many pages. The next are `…+1`, `…+2` and so on.

    `notes`: what the host says of itself.
    """

    pages: int = 1
    notes: Mapping[str, Any] = {}
    rows: Mapping[str, Row] = {}
