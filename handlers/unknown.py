"""The answer to a command on a connection that does not exist."""

from __future__ import annotations

from runtime.judging import Order, Rejected


def unknown(order: Order) -> Rejected:
    """Say so, and what to do."""
    return Rejected(f"no connection '{order.connection_id}' is known; connect it first")
