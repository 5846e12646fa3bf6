"""The loop that runs one life of a connection after the other."""

from __future__ import annotations

import asyncio

import pytest

from runtime.backoff import Backoff, Exhausted, Retry
from runtime.failure import Failure, FailureKind
from runtime.models.options import WebSocketOptions
from runtime.reconnect import LifeEnded, keep_alive

LOST = Failure(FailureKind.TRANSIENT, "lost")


class Lives:
    """Lives that end as told; the last returns."""

    def __init__(self, *ends: BaseException | None) -> None:
        self.ends = list(ends)
        self.begun = 0
        self.pauses: list[tuple[Retry, Failure]] = []

    async def live(self) -> None:
        self.begun += 1
        end = self.ends.pop(0)
        if end is not None:
            raise end

    async def pause(self, retry: Retry, failure: Failure) -> None:
        self.pauses.append((retry, failure))

    async def run(self, **options) -> Exhausted | None:
        policy = Backoff(WebSocketOptions(**options))
        return await keep_alive(self.live, backoff=policy, random=lambda: 0.5, pause=self.pause)


async def test_it_goes_on_until_a_life_returns():
    lives = Lives(LifeEnded(LOST), LifeEnded(LOST, lived_s=60), None)
    assert await lives.run() is None
    assert lives.begun == 3
    assert lives.pauses == [(Retry(0.5, 1), LOST), (Retry(0.5, 1), LOST)]


async def test_each_pause_is_given_the_failure_that_it_follows():
    other = Failure(FailureKind.THROTTLED, "later", 5)
    lives = Lives(LifeEnded(LOST), LifeEnded(other), None)
    await lives.run()
    assert [(retry.delay_s, failure) for retry, failure in lives.pauses] == [(0.5, LOST), (8.5, other)]


async def test_it_ends_without_a_pause_when_the_backoff_has_had_enough():
    lives = Lives(*(LifeEnded(LOST) for _ in range(3)))
    assert await lives.run(reconnect_attempts=2) == Exhausted("gave up after 2 reconnect attempts: lost")
    assert (lives.begun, len(lives.pauses)) == (3, 2)


async def test_nothing_else_is_caught():
    with pytest.raises(ZeroDivisionError):
        await Lives(ZeroDivisionError()).run()


@pytest.mark.parametrize("where", ["life", "pause"])
async def test_a_cancellation_ends_it_wherever_it_comes(where):
    lives = Lives(LifeEnded(LOST), None)
    reached = asyncio.Event()

    async def wait_here(*_: object) -> None:
        reached.set()
        await asyncio.Event().wait()

    if where == "life":
        lives.live = wait_here  # type: ignore[method-assign]
    else:
        lives.pause = wait_here  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(lives.run())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
