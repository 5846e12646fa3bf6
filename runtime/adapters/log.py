"""The Observer port on structlog: for people on a terminal, JSON lines otherwise, always to standard error."""

from __future__ import annotations

import sys
from typing import Any, Literal

import structlog


class Log:
    """Logs are constants plus fields."""

    def __init__(self, form: Literal["auto", "console", "json"] = "auto") -> None:
        console = form == "console" or (form == "auto" and sys.stderr.isatty())
        renderer: Any = structlog.dev.ConsoleRenderer() if console else structlog.processors.JSONRenderer()
        self._log = structlog.wrap_logger(
            structlog.PrintLogger(sys.stderr),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                renderer,
            ],
        )

    def log(self, event: str, **fields: object) -> None:
        self._log.info(event, **fields)

    def warn(self, event: str, **fields: object) -> None:
        self._log.warning(event, **fields)
