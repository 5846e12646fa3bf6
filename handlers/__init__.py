"""One small function for each trigger, and ROUTES, the table that leads from a trigger to its model and function."""

from __future__ import annotations

from handlers.routes import QUERIES, ROUTES, SWEEP, Route

__all__ = ["QUERIES", "ROUTES", "SWEEP", "Route"]
