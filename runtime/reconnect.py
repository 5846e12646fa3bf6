"""The one file that knows tenacity: runs the lives of a connection one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from runtime.backoff import Backoff, Exhausted, Retry
from runtime.failure import Failure
from runtime.ports import Random


class LifeEnded(Exception):
    """One life is over: the failure that ended it, and how long its socket was Connected."""

    def __init__(self, failure: Failure, lived_s: float = 0) -> None:
        super().__init__(failure.reason)
        self.failure = failure
        self.lived_s = lived_s


async def keep_alive(
    live: Callable[[], Awaitable[None]],
    *,
    backoff: Backoff,
    random: Random,
    pause: Callable[[Retry, Failure], Awaitable[None]],
) -> Exhausted | None:
    """Call `live` until it returns (None) or the backoff has had enough (why).

    `live` dials and holds one socket; it raises LifeEnded when that is over. `pause` waits between two lives; it is
    given the verdict and the failure, and may come back early. Nothing else is caught.
    """
    last_failure: Failure | None = None

    def wait(state: RetryCallState) -> float:  # tenacity asks this before `stop`: here is the decision
        nonlocal last_failure
        ended = _ended(state)
        last_failure = ended.failure
        verdict = backoff.decide(ended.failure, ended.lived_s, random())
        return verdict.delay_s if isinstance(verdict, Retry) else 0.0

    def stop(state: RetryCallState) -> bool:
        return isinstance(backoff.last, Exhausted)

    async def sleep(seconds: float) -> None:
        assert isinstance(backoff.last, Retry)
        assert last_failure is not None
        await pause(backoff.last, last_failure)

    retrying = AsyncRetrying(retry=retry_if_exception_type(LifeEnded), wait=wait, stop=stop, sleep=sleep, reraise=True)
    try:
        await retrying(live)
    except LifeEnded:
        assert isinstance(backoff.last, Exhausted)
        return backoff.last
    return None


def _ended(state: RetryCallState) -> LifeEnded:
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, LifeEnded)
    return error
