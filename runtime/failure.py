"""One place that tells what a failed dial or a lost socket means for the next attempt."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from runtime.errors import ManagerError


class FailureKind(StrEnum):
    """What to do next.

    transient: try again. throttled: try again later, without counting. refused: try again a few times only.
    forbidden: never try again.
    """

    TRANSIENT = "transient"
    THROTTLED = "throttled"
    REFUSED = "refused"
    FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, in words for the record, and what it means. `retry_after_s` is a lower bound."""

    kind: FailureKind
    reason: str
    retry_after_s: float = 0


class DialError(ManagerError):
    """A dial that did not become a socket."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class SocketLost(ManagerError):
    """A socket that ended. `complete`: the peer's close frame was read, so nothing before it is missing."""

    def __init__(self, failure: Failure, *, complete: bool = False) -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.complete = complete


# 5 s is the lower bound of the delay that the registry of close codes names for 1012 (RFC 6455, 7.4.1, as
# extended by IANA); the same serves 1013, and 429 and 503 without Retry-After.
RESTART_DELAY_S = 5
_RETRIED_4XX = frozenset({408, 421, 425})
_REFUSING_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010})


def classify_status(status: int, retry_after_s: float | None = None) -> Failure:
    """An HTTP answer to the handshake that was not 101; `retry_after_s` is its Retry-After, None if it had none."""
    reason = f"the server answered HTTP {status} to the handshake"
    if status in {429, 503}:
        return Failure(FailureKind.THROTTLED, reason, RESTART_DELAY_S if retry_after_s is None else retry_after_s)
    if 300 <= status < 400:
        return Failure(FailureKind.REFUSED, reason + "; redirects are not followed: use the final URL")
    if 400 <= status < 500 and status not in _RETRIED_4XX:
        return Failure(FailureKind.REFUSED, reason)
    return Failure(FailureKind.TRANSIENT, reason, retry_after_s or 0)


def classify_close(code: int | None, reason: str, *, sent_first: bool = False) -> Failure:
    """The end of a socket by close frame; `code` None means that the transport ended without one (1006)."""
    if code is None:
        return Failure(FailureKind.TRANSIENT, "the connection broke without a close frame (1006)")
    who = "we closed" if sent_first else "the peer closed"
    text = f"{who} with {code}" + (f": {_printable(reason)}" if reason else "")
    if code in {1012, 1013}:
        return Failure(FailureKind.THROTTLED, text, RESTART_DELAY_S)
    return Failure(FailureKind.REFUSED if code in _REFUSING_CODES else FailureKind.TRANSIENT, text)


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:123])
