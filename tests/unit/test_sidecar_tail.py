"""What `wsm tail` shows of what a broker hands to a new subscriber."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from runtime.cli.sidecar_tail import is_news

SINCE = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("time", "news"),
    [
        ("2026-01-01T12:00:00Z", True),
        ("2026-01-01T11:59:59.999999Z", False),
        ("2026-01-01T07:30:00-05:00", True),
        ("2026-01-01T13:30:00+02:00", False),
        ("", True),
        ("yesterday", True),
    ],
)
def test_what_is_older_than_the_call_is_no_news(time: str, news: bool):
    assert is_news(time, SINCE) is news
