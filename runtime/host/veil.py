"""What a peer says of an end goes into records and events: the secrets that it may repeat there do not."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass, field, replace
from urllib.parse import quote, quote_plus

from runtime.failure import SocketLost
from runtime.models.secrets import escaped
from runtime.urls import MASK

SHORTEST = 4  # what is shorter is no secret, and would be found everywhere


@dataclass(frozen=True, slots=True)
class Veil:
    """Secrets that a peer was told."""

    secrets: tuple[str, ...] = field(default=(), repr=False)

    def over(self, lost: SocketLost) -> SocketLost:
        """The same end, without them."""
        reason = lost.failure.reason
        for secret in self.secrets:
            for form in _forms(secret) if len(secret) >= SHORTEST else ():
                reason = reason.replace(form, MASK)
        return (
            lost
            if reason == lost.failure.reason
            else SocketLost(replace(lost.failure, reason=reason), complete=lost.complete)
        )


NO_VEIL = Veil()


def _forms(secret: str) -> set[str]:
    """As it is, and as it is written in JSON, in a URL, in base64."""
    return {secret, escaped(secret), quote(secret, safe=""), quote_plus(secret), b64encode(secret.encode()).decode()}
