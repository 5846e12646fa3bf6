"""What is stored of the dials to a remote host, and what one more may do."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.models.dials import (
    ASK_AGAIN_S,
    HOLD_S,
    PAGES,
    REMOTES_MAX,
    SKEW_S,
    SLOTS,
    Ask,
    DialLimits,
    DialsPage,
    Pause,
    RemoteDials,
    dials_key,
)

NOW = 1_767_225_600.0
WINDOW_S = 300.0
LIMITS = DialLimits(in_window=10, window_s=WINDOW_S)
AT_ONCE = DialLimits(at_once=3)


def ask(found: RemoteDials, wanted: int, now: float, limits: DialLimits = LIMITS, id_: str = "A", in_flight: int = 0):
    return found.ask(Ask(id_, wanted, in_flight), limits, now)


def test_what_is_left_of_a_window_is_granted_and_then_says_when_to_ask_again():
    held, first = ask(RemoteDials(), 7, NOW)
    held, second = ask(held, 7, NOW + 20, id_="B")
    held, third = ask(held, 1, NOW + 40)
    assert (first.granted, second.granted, third.granted) == (7, 3, 0)
    assert third.why == "10 in 300 s"
    part_s = WINDOW_S / SLOTS
    assert WINDOW_S - 40 < third.wait_s <= WINDOW_S - 40 + part_s
    _, early = ask(held, 9, NOW + 40 + third.wait_s - 0.01)
    _, late = ask(held, 9, NOW + 40 + third.wait_s)
    assert (early.granted, late.granted) == (0, 7)


@given(
    st.lists(st.tuples(st.floats(0, 40), st.integers(1, 8), st.sampled_from("ABC")), max_size=60),
    st.tuples(*[st.floats(-SKEW_S / 2, SKEW_S / 2)] * 3),
)
def test_no_window_ever_sees_more_dials_than_the_limit_whoever_asks(asks, skews):
    """Within the hosts' difference of clocks."""
    held, now, granted = RemoteDials(), NOW, []
    for pause_s, wanted, id_ in asks:
        now += pause_s
        held, answer = ask(held, wanted, now + skews["ABC".index(id_)], id_=id_)
        granted += [now] * answer.granted
        assert answer.granted or answer.wait_s > 0
        held = RemoteDials.read(json.loads(held.to_json()))
        assert len(held.granted) <= SLOTS + 2
    for at in granted:
        assert sum(at <= other < at + WINDOW_S - SKEW_S for other in granted) <= LIMITS.in_window


def test_so_many_are_in_flight_at_once_and_a_host_that_died_holds_its_own_for_a_while_only():
    held, first = ask(RemoteDials(), 5, NOW, AT_ONCE)
    held, other = ask(held, 5, NOW + 1, AT_ONCE, "B")
    assert (first.granted, other.granted) == (3, 0)
    assert (other.wait_s, other.why) == (ASK_AGAIN_S, "3 at once")
    held, _ = held.ask(Ask("A", in_flight=2), AT_ONCE, NOW + 2)
    held, other = ask(held, 5, NOW + 3, AT_ONCE, "B")
    assert other.granted == 1
    _, before = ask(held, 5, NOW + 2 + HOLD_S - 0.1, AT_ONCE, "C")
    _, after = ask(held, 5, NOW + 2 + HOLD_S, AT_ONCE, "C")
    assert (before.granted, after.granted) == (0, 2)


def test_the_longer_pause_counts_and_nobody_dials_during_it():
    held, _ = RemoteDials().ask(Ask("A", pause=Pause(until=NOW + 60, length_s=60, why="HTTP 429")), LIMITS, NOW)
    held, _ = held.ask(Ask("B", pause=Pause(until=NOW + 5, length_s=5, why="1012")), LIMITS, NOW)
    _, answer = ask(held, 1, NOW + 20)
    assert (answer.granted, answer.wait_s, answer.why) == (0, 40, "HTTP 429")
    held, answer = ask(held, 1, NOW + 60)
    assert answer.granted == 1
    assert held.pause is None


@pytest.mark.parametrize("ahead_s", [3600, 10**9])
def test_a_clock_that_was_wrong_costs_one_window_one_hold_and_one_pause(ahead_s: float):
    wrong = NOW + ahead_s
    limits = DialLimits(in_window=10, window_s=WINDOW_S, at_once=3)
    held, _ = ask(RemoteDials(), 10, wrong, LIMITS)
    pause = Pause(until=wrong + 60, length_s=60, why="x")
    held, _ = held.ask(Ask("A", in_flight=3, pause=pause), limits, wrong)
    held, answer = ask(held, 1, NOW, limits, "B")
    assert answer.granted == 0
    assert answer.wait_s <= 60 + SKEW_S
    held, answer = ask(held, 1, NOW + 60 + SKEW_S, limits, "B")
    assert answer.why == "10 in 300 s"
    assert answer.wait_s < WINDOW_S + WINDOW_S / SLOTS + SKEW_S
    _, answer = ask(held, 1, NOW + WINDOW_S + WINDOW_S / SLOTS + SKEW_S, limits, "B")
    assert answer.granted == 1


def test_without_limits_nothing_is_stored_but_pauses():
    held, answer = ask(RemoteDials(), 1000, NOW, DialLimits())
    assert (answer.granted, held.is_empty) == (1000, True)


def test_what_is_over_leaves_the_page_and_a_full_page_takes_no_more():
    page, limits = DialsPage(), DialLimits(in_window=1, window_s=10)
    for number in range(REMOTES_MAX):
        page, answer = page.ask(f"h{number}:443", Ask("A", 1), limits, NOW)
        assert answer.granted == 1
    page, answer = page.ask("one-more:443", Ask("A", 1), limits, NOW)
    assert (answer.is_full, answer.granted, len(page.remotes)) == (True, 0, REMOTES_MAX)
    page, answer = page.ask("one-more:443", Ask("A", 1), limits, NOW + 20)
    assert (answer.granted, list(page.remotes)) == (1, ["one-more:443"])


def test_a_record_holds_one_number_for_each_part_of_a_window():
    held, limits = RemoteDials(), DialLimits(in_window=10**9, window_s=86_400)
    for second in range(0, 90_000, 10):
        held, _ = ask(held, 1, NOW + second, limits)
    assert len(held.granted) <= SLOTS + 1
    assert len(held.to_json()) < 1000


def test_there_are_no_more_keys_than_pages():
    keys = {dials_key(f"host-{number}.example:443") for number in range(20 * PAGES)}
    assert len(keys) == PAGES
    assert all(key.startswith("websocket.dials.") for key in keys)


@pytest.mark.parametrize(("hosts", "share"), [(1, 10), (3, 3), (100, 1)])
def test_a_share_is_a_part_of_the_budget_and_at_least_one_dial(hosts: int, share: int):
    assert LIMITS.share(hosts) == DialLimits(in_window=share, window_s=WINDOW_S)
    assert DialLimits(at_once=10).share(hosts).at_once == share
