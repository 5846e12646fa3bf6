"""The arithmetic of waiting and giving up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runtime.backoff import Backoff, Exhausted, Retry
from runtime.failure import Failure, FailureKind
from runtime.models.options import WebSocketOptions

LOST = Failure(FailureKind.TRANSIENT, "lost")
REFUSED = Failure(FailureKind.REFUSED, "no")
THROTTLED = Failure(FailureKind.THROTTLED, "later", 5)
FORBIDDEN = Failure(FailureKind.FORBIDDEN, "never")
ALMOST_ONE = 1 - 2**-53
KINDS = st.sampled_from([LOST, REFUSED, THROTTLED])


def backoff(**options) -> Backoff:
    return Backoff(WebSocketOptions(**options))


def ceilings(policy: Backoff, count: int) -> list[float]:
    """The longest delay of each attempt, to a thousandth."""
    verdicts = [policy.decide(LOST, 0, ALMOST_ONE) for _ in range(count)]
    assert all(isinstance(verdict, Retry) for verdict in verdicts)
    return [round(verdict.delay_s, 3) for verdict in verdicts if isinstance(verdict, Retry)]


def test_the_ceiling_doubles_up_to_the_cap():
    assert ceilings(backoff(reconnect_attempts=0), 8) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_the_delay_is_jittered_over_the_whole_range():
    assert backoff().decide(LOST, 0, 0.0) == Retry(0.0, 1)
    assert backoff().decide(LOST, 0, 0.5) == Retry(0.5, 1)


def test_failures_are_forgiven_only_after_a_stable_life():
    policy = backoff(reconnect_attempts=0, stable_after_s=10)
    ceilings(policy, 4)
    assert policy.decide(LOST, 9.9, 0.5) == Retry(8, 5)
    assert policy.decide(LOST, 10, 0.5) == Retry(0.5, 1)


def test_the_first_redial_after_a_stable_life_still_waits():
    assert backoff().decide(LOST, 3600, 0.7) == Retry(0.7, 1)


def test_it_gives_up_after_the_attempts_that_are_allowed():
    policy = backoff(reconnect_attempts=3)
    assert len(ceilings(policy, 3)) == 3
    assert policy.decide(LOST, 0, 0.5) == Exhausted("gave up after 3 reconnect attempts: lost")


def test_zero_attempts_means_without_end():
    assert len(ceilings(backoff(reconnect_attempts=0), 5000)) == 5000


def test_a_refusal_is_tried_a_few_times_in_a_row_only():
    policy = backoff(reconnect_attempts=0, refused_attempts=2)
    assert isinstance(policy.decide(REFUSED, 0, 0), Retry)
    assert isinstance(policy.decide(LOST, 0, 0), Retry)
    assert isinstance(policy.decide(REFUSED, 0, 0), Retry)
    assert policy.decide(REFUSED, 0, 0) == Exhausted("refused 2 times in a row: no")


def test_what_is_forbidden_is_never_tried_again():
    assert backoff(reconnect_attempts=0).decide(FORBIDDEN, 3600, 0) == Exhausted("never")


def test_a_throttled_attempt_waits_at_least_as_asked_and_counts_against_no_limit():
    policy = backoff(reconnect_attempts=1, refused_attempts=1)
    for attempt in range(1, 100):
        verdict = policy.decide(THROTTLED, 0, 0.0)
        assert verdict == Retry(5, attempt)


def test_a_retry_after_is_spread_so_that_not_all_come_at_once():
    assert backoff().decide(THROTTLED, 0, 0.0) == Retry(5, 1)
    assert backoff().decide(THROTTLED, 0, 0.5) == Retry(8, 1)  # 5 s by half, and half of 1 s


@given(
    st.lists(st.tuples(KINDS, st.floats(0, 100), st.floats(0, 1, exclude_max=True)), max_size=60),
    st.integers(0, 8),
    st.integers(1, 5),
)
def test_every_delay_keeps_its_bounds_and_an_end_has_a_cause(story, attempts, refusals):
    options = WebSocketOptions(reconnect_attempts=attempts, refused_attempts=refusals)
    policy = Backoff(options)
    for failure, lived_s, random in story:
        verdict = policy.decide(failure, lived_s, random)
        assert policy.last is verdict
        if isinstance(verdict, Exhausted):
            assert failure.kind is FailureKind.REFUSED or (attempts and policy.counted > attempts)
            return
        assert failure.retry_after_s <= verdict.delay_s
        assert verdict.delay_s <= options.reconnect_max_delay_s + 2 * failure.retry_after_s
        assert verdict.attempt >= 1
