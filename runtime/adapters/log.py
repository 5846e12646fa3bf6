"""The Observer port on structlog: for people on a terminal, JSON lines otherwise, always to standard error."""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any, Literal, TextIO

import structlog


class Log:
    """Logs are constants plus fields. A log that cannot be written stops nothing."""

    def __init__(self, form: Literal["auto", "console", "json"] = "auto", stream: TextIO | None = None) -> None:
        stream = stream or sys.stderr
        on_terminal = stream.isatty()
        renderer: Any = structlog.processors.JSONRenderer()
        if form == "console" or (form == "auto" and on_terminal):
            renderer = structlog.dev.ConsoleRenderer(colors=on_terminal)
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(stream),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                renderer,
            ],
        )

    def log(self, event: str, **fields: object) -> None:
        with suppress(OSError):
            self._log.info(event, **fields)

    def warn(self, event: str, **fields: object) -> None:
        with suppress(OSError):
            self._log.warning(event, **fields)
