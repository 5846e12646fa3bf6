"""The one file that knows tenacity: runs the lives of a connection one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

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


@dataclass(slots=True)
class _Lives:
    """What tenacity is to ask for one connection. `ended`: the last failure, and what follows it."""

    live: Callable[[], Awaitable[None]]
    backoff: Backoff
    random: Random
    pause: Callable[[Retry, Failure], Awaitable[None]]
    ended: tuple[Retry | Exhausted, Failure] | None = None

    async def next(self) -> None:
        """The next life, after the pause that the one before has left."""
        if self.ended is not None:
            verdict, failure = self.ended
            assert isinstance(verdict, Retry)
            await self.pause(verdict, failure)
        await self.live()

    def decide(self, ended: LifeEnded) -> None:
        """What follows."""
        self.ended = self.backoff.decide(ended.failure, ended.lived_s, self.random()), ended.failure


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
    lives = _Lives(live, backoff, random, pause)
    try:
        await _RETRYING(_Lives.next, lives)
    except LifeEnded:
        assert isinstance(backoff.last, Exhausted)
        return backoff.last
    return None


def _wait(state: RetryCallState) -> float:
    """Decide: tenacity asks this before `stop`. The pause itself is made by `_Lives.next`, which knows what for."""
    assert state.outcome is not None
    error = state.outcome.exception()
    assert isinstance(error, LifeEnded)
    _lives(state).decide(error)
    return 0.0


def _stop(state: RetryCallState) -> bool:
    return isinstance(_lives(state).backoff.last, Exhausted)


async def _at_once(_seconds: float) -> None:
    pass


def _lives(state: RetryCallState) -> _Lives:
    lives = state.args[0]
    assert isinstance(lives, _Lives)
    return lives


# One for all connections, since each takes 2 KB. What it notes meanwhile it notes without an await in between.
_RETRYING = AsyncRetrying(
    retry=retry_if_exception_type(LifeEnded), wait=_wait, stop=_stop, sleep=_at_once, reraise=True
)
