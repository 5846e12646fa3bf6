"""What a failed dial and a lost socket mean for the next attempt, and how long Retry-After asks to wait."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.adapters.retry_after import parse_retry_after
from runtime.failure import RESTART_DELAY_S, FailureKind, classify_close, classify_status

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("status", [429, 503])
def test_a_throttling_server_is_given_the_time_that_it_asks_for(status):
    assert classify_status(status, 100).kind is FailureKind.THROTTLED
    assert classify_status(status, 100).retry_after_s == 100
    assert classify_status(status, 0).retry_after_s == 0
    assert classify_status(status).retry_after_s == RESTART_DELAY_S


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, FailureKind.TRANSIENT),
        (301, FailureKind.REFUSED),
        (400, FailureKind.REFUSED),
        (401, FailureKind.REFUSED),
        (403, FailureKind.REFUSED),
        (404, FailureKind.REFUSED),
        (408, FailureKind.TRANSIENT),
        (421, FailureKind.TRANSIENT),
        (425, FailureKind.TRANSIENT),
        (500, FailureKind.TRANSIENT),
        (502, FailureKind.TRANSIENT),
    ],
)
def test_a_status_is_refused_or_worth_another_try(status, kind):
    failure = classify_status(status)
    assert failure.kind is kind
    assert str(status) in failure.reason
    assert failure.retry_after_s == 0


def test_a_broken_server_may_ask_for_time_too():
    assert classify_status(500, 7).retry_after_s == 7


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_says_what_to_do(status):
    assert "use the final URL" in classify_status(status).reason


@pytest.mark.parametrize(
    ("code", "kind", "wait_s"),
    [
        (1000, FailureKind.TRANSIENT, 0),
        (1001, FailureKind.TRANSIENT, 0),
        (1002, FailureKind.REFUSED, 0),
        (1003, FailureKind.REFUSED, 0),
        (1007, FailureKind.REFUSED, 0),
        (1008, FailureKind.REFUSED, 0),
        (1009, FailureKind.REFUSED, 0),
        (1010, FailureKind.REFUSED, 0),
        (1011, FailureKind.TRANSIENT, 0),
        (1012, FailureKind.THROTTLED, RESTART_DELAY_S),
        (1013, FailureKind.THROTTLED, RESTART_DELAY_S),
        (1014, FailureKind.TRANSIENT, 0),
        (4000, FailureKind.TRANSIENT, 0),
        (None, FailureKind.TRANSIENT, 0),
    ],
)
def test_a_close_code_says_what_follows(code, kind, wait_s):
    failure = classify_close(code, "")
    assert (failure.kind, failure.retry_after_s) == (kind, wait_s)
    assert str(code or 1006) in failure.reason


def test_a_close_says_who_closed_and_why_in_printable_characters():
    assert classify_close(1008, "no\r\nway\x1b[31m").reason == "the peer closed with 1008: no??way?[31m"
    assert classify_close(1009, "too big", sent_first=True).reason == "we closed with 1009: too big"


def test_retry_after_is_read_as_seconds():
    assert parse_retry_after(" 120 ", now=NOW, cap_s=3600) == 120
    assert parse_retry_after("0", now=NOW, cap_s=3600) == 0


def test_retry_after_is_read_as_a_date():
    for moment in (NOW + timedelta(seconds=90), (NOW + timedelta(seconds=90)).replace(tzinfo=None)):
        assert parse_retry_after(format_datetime(moment), now=NOW, cap_s=3600) == 90
    assert parse_retry_after(format_datetime(NOW - timedelta(days=1)), now=NOW, cap_s=3600) == 0


@pytest.mark.parametrize("value", ["9" * 20, "9" * 8000, "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_retry_after_is_capped(value):
    assert parse_retry_after(value, now=NOW, cap_s=3600) == 3600


@pytest.mark.parametrize("value", [None, "", "soon", "-1", "1.5", "²", "٣", "Thu, 32 Jan 2026 00:00:00 GMT"])
def test_what_is_no_retry_after_is_none(value):
    assert parse_retry_after(value, now=NOW, cap_s=3600) is None


@given(st.one_of(st.text(max_size=60), st.from_regex(r"\w{3}, \d{1,3} \w{3} \d{1,6} [\d:]{0,9} [+-]?\w{0,9}")))
def test_no_retry_after_header_breaks_the_reader(value):
    wait_s = parse_retry_after(value, now=NOW, cap_s=3600)
    assert wait_s is None or 0 <= wait_s <= 3600
