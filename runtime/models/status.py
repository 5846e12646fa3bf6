"""The four statuses of a connection and the one table of legal transitions between them."""

from __future__ import annotations

from enum import IntEnum

from runtime.errors import IllegalTransitionError


class ConnectionStatus(IntEnum):
    """What a connection is doing now; stored as its number, shown as its name."""

    DISCONNECTED = 0
    CONNECTING = 1
    CONNECTED = 2
    RECONNECTING = 3

    @property
    def label(self) -> str:
        """The name as a .NET service writes it: `Disconnected`, `Connecting` …"""
        return self.name.capitalize()

    @classmethod
    def parse(cls, value: object) -> ConnectionStatus:
        """Read a number, a name in any letter case, or a number as text. Raises ValueError."""
        if isinstance(value, str):
            text = value.strip()
            if text.upper() in cls.__members__:
                return cls[text.upper()]
            value = int(text) if text.isdecimal() else None
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(cls):
            return cls(value)
        names = ", ".join(member.label for member in cls)
        raise ValueError(f"status must be one of {names} or 0 to 3")


_S = ConnectionStatus

# Reconnecting → Connected, Connected → Disconnected and Connecting → Disconnected complete the seed's
# drawing (success, a user's disconnect, no auto-reconnect). A claim after a lost owner takes
# Connected → Reconnecting and Disconnected → Connecting.
TRANSITIONS: dict[ConnectionStatus, frozenset[ConnectionStatus]] = {
    _S.DISCONNECTED: frozenset({_S.CONNECTING}),
    _S.CONNECTING: frozenset({_S.CONNECTED, _S.RECONNECTING, _S.DISCONNECTED}),
    _S.CONNECTED: frozenset({_S.RECONNECTING, _S.DISCONNECTED}),
    _S.RECONNECTING: frozenset({_S.CONNECTED, _S.DISCONNECTED}),
}


def transition(current: ConnectionStatus, target: ConnectionStatus) -> ConnectionStatus:
    """Return `target` if the table allows the step or nothing changes; raise IllegalTransitionError otherwise."""
    if target is not current and target not in TRANSITIONS[current]:
        raise IllegalTransitionError(f"{current.label} cannot become {target.label}")
    return target
