"""The opening script on one socket: sends in order, and waits for the messages that the steps expect."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from runtime.correlation import Expectation, expected
from runtime.failure import Failure, FailureKind, SocketLost
from runtime.host.flag import Flag
from runtime.models.opening import Step
from runtime.ports import Clock, Socket


@dataclass(slots=True)
class Opening:
    """Runs once. `hear` is told all that is read meanwhile; `is_paused`: nothing is read, so no answer can come.

    It listens before a question is out, since the answer may be quick; and a step that only waits begins when the one
    before it has ended, since what it waits for may come in the same read.
    """

    steps: Sequence[Step]
    socket: Socket
    clock: Clock
    patience_s: float
    delay_s: float
    is_paused: Callable[[], bool]
    refusal: Failure | None = None
    is_cut: bool = False  # the socket was lost in a send
    _passed: int = 0  # how many steps a message has ended
    _expected: Expectation | None = None
    _refused_by: Expectation | None = None
    _wake: Flag = field(default_factory=Flag)

    async def run(self) -> None:
        """Return when all steps have passed. Raises SocketLost."""
        has_sent = False
        for number, step in enumerate(self.steps):
            content = step.content()
            if content is not None:
                if has_sent and self.delay_s:
                    await self.clock.sleep(self.delay_s)
                self._listen(number)
                await self._send(content, number)
                has_sent = True
            elif number == 0:
                self._listen(number)
            if step.expect is not None:
                await self._until_passed(number, step)

    def hear(self, message: str | bytes) -> None:
        """Look whether a message is one that is waited for."""
        if self._expected is None:
            return
        if self._refused_by is not None and self._refused_by.is_met_by(message):
            self.refusal = Failure(FailureKind.REFUSED, f"the peer refused {self._name(self._passed)} (refusedBy)")
            self._expected = None
        elif self._expected.is_met_by(message):
            self._passed += 1
            self._await(self._passed)
        else:
            return
        self._wake.set()

    def _listen(self, number: int) -> None:
        """For what a step expects or, if that only sends, for what the one after it waits for."""
        self._passed = number
        if self.steps[number].expect is not None:
            self._expect(self.steps[number])
        else:
            self._passed += 1
            self._await(number + 1)

    def _await(self, number: int) -> None:
        """Listen for a step that only waits, if that is one."""
        self._expected = None
        if number < len(self.steps) and self.steps[number].data is None:
            self._expect(self.steps[number])

    def _expect(self, step: Step) -> None:
        self._expected, self._refused_by = expected(step.expect), expected(step.refused_by)

    async def _send(self, content: str | bytes, number: int) -> None:
        try:
            async with asyncio.timeout(self.patience_s):
                await self.socket.send(content)
        except SocketLost:
            self.is_cut = True
            raise
        except TimeoutError:
            reason = f"the peer did not take {self._name(number)} within {self.patience_s:g} s (connectTimeoutS)"
            raise SocketLost(Failure(FailureKind.TRANSIENT, reason)) from None

    async def _until_passed(self, number: int, step: Step) -> None:
        patience = step.within_s or self.patience_s
        while self._passed <= number and self.refusal is None:
            self._wake.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._wake.wait()
            except TimeoutError:
                if not self.is_paused():
                    limit = f"{patience:g} s ({'withinS' if step.within_s else 'connectTimeoutS'})"
                    reason = f"no message ended {self._name(number)} within {limit}"
                    raise SocketLost(Failure(FailureKind.TRANSIENT, reason)) from None
        if self.refusal is not None:
            raise SocketLost(self.refusal)

    def _name(self, number: int) -> str:
        return f"step {number + 1} of {len(self.steps)} of the opening script"
