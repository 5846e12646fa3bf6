"""The Retry-After header, as servers of WebSockets and of HTTP send it."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from runtime.adapters.clock import SystemClock

LONGEST_S = 86_400.0


def retry_after_s(value: str | None, cap_s: float = LONGEST_S) -> float | None:
    """See `parse_retry_after`; from now on."""
    return parse_retry_after(value, now=SystemClock().now(), cap_s=cap_s)


def parse_retry_after(value: str | None, *, now: datetime, cap_s: float) -> float | None:
    """Seconds to wait by a Retry-After header (RFC 9110, 10.2.3: seconds or a date), between 0 and `cap_s`.

    None if there is no header or it cannot be read.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(float(text), cap_s)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max(0.0, (moment - now).total_seconds()), cap_s)
