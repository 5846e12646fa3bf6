"""How the embedded profile is, for `wsm doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from runtime.urls import mask_url

PATIENCE_S = 3.0


@dataclass(frozen=True, slots=True)
class EmbeddedDiagnosis:
    """Looks at folder, lock and sink."""

    data: Path
    sink: str
    why_not_locked: Callable[[], str | None]

    async def about(self) -> dict[str, Any]:
        """Paths as this process has them; a reason is None where all is well."""
        return {
            "profile": "embedded",
            "version": version("websocket-manager"),
            "data": str(self.data.absolute()),
            "lock": self.why_not_locked(),
            "sink": mask_url(self.sink),
            "sinkAway": await why_away(self.sink),
        }

    async def probe_store(self) -> dict[str, Any]:
        """The file is ours: there is nothing to find out."""
        return {"problems": [], "warnings": []}


async def why_away(sink: str) -> str | None:
    """Why nothing listens at the address of a sink; standard output is always there."""
    if sink == "stdout":
        return None
    url = urlsplit(sink)
    port = url.port or (443 if url.scheme == "https" else 80)
    try:
        async with asyncio.timeout(PATIENCE_S):
            _, writer = await asyncio.open_connection(url.hostname, port)
    except TimeoutError:
        return f"no answer within {PATIENCE_S:g} s"
    except OSError as error:
        return error.strerror or str(error)
    writer.close()
    return None
