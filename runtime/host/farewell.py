"""Why an owner closes a socket, and why it lets go of a connection."""

from __future__ import annotations

from enum import Enum


class Farewell(Enum):
    """Why we close a socket: the close code and reason for the peer."""

    ASKED = (1000, "")
    STOPPING = (1001, "the manager is stopping")
    MOVED = (1000, "handed over")
    EXCHANGED = (1000, "exchanged for a new one")
    CUT = (None, "")


class WayOut(Enum):
    """Why an owner lets go."""

    LOST = "another owns the connection, or nobody"
    STOPPING = "the record is left for the next owner"
    LEFT = "the host that it was handed over to has it"
