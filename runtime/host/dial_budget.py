"""The dial budget of each remote host, kept by all hosts together through the state store.

One record for each remote host (`runtime.models.dials`) says what was dialled lately and whether the remote host has
asked to be left alone (429, 503, 1012, 1013). Before a dial one task of this process asks for all that wait for the
same remote host, so that a storm of dials is a few writes. Without a limit nothing is written but pauses, and the
record is read at most once in `LOOK_S`.

No limit is set by default: those of the providers differ by orders of magnitude, and a guess would keep thousands of
connections to a feed of one's own waiting for hours. Pauses are always kept.

While the store is away each process keeps to its share, that is the budget divided by the hosts that lived when they
were last seen, counting what it has dialled itself: dials go on, and no more of them than the budget allows. What was
dialled meanwhile is told when the store is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta

from runtime.errors import GarbageRecordError, StoreError
from runtime.failure import Failure, FailureKind
from runtime.host.remote import Remote, Turn, Wait, remote_of
from runtime.host.watch import Others
from runtime.models.dials import Answer, Ask, DialLimits, DialsPage, Pause, RemoteDials, dials_key
from runtime.ports import Clock, Observer, Random
from runtime.records import Records

LOOK_S = 1.0
STORE_PATIENCE_S = 2.0
AWAY_S = 5.0  # until a store that is away is asked again
WRITE_AFTER_S = 0.2
SPREAD_S = 60.0  # at most, over which those who waited for the end of a pause dial
JITTER_S = 5.0
GARBAGE_S = 60.0  # until a record that cannot be read is read again
KEPT = 1024  # remote hosts in memory without need


@dataclass(slots=True)
class DialBudget:
    """Gives turns to dials. `run` writes what nobody waits for: ends of dials, and pauses."""

    records: Records
    clock: Clock
    random: Random
    observer: Observer
    instance_id: str
    limits: DialLimits
    others: Others
    _remotes: dict[str, Remote] = field(default_factory=dict)
    _is_due: asyncio.Event = field(default_factory=asyncio.Event)
    _ask_at: float = 0.0  # monotonic: the store is away until then
    _is_away: bool = False

    @asynccontextmanager
    async def turn(self, url: str, tell: Callable[[Wait | None], None]) -> AsyncIterator[Turn]:
        """Wait until the remote host of a URL may be dialled, and dial within. `tell`: of a wait, None: it is over."""
        remote, turn = self._remote_of(url), Turn(tell)
        if remote is None:
            yield turn
            return
        try:
            await self._until_granted(remote, turn)
            turn.go()
            yield turn
        finally:
            remote.waiting.pop(turn, None)
            if turn.is_granted:
                remote.in_flight -= 1
                remote.ended.set()
            if self.limits.at_once:
                self._write_soon(remote)

    def heed(self, url: str, failure: Failure) -> None:
        """Leave a remote host alone that has asked for it."""
        remote = self._remote_of(url) if failure.kind is FailureKind.THROTTLED else None
        if remote is None or failure.retry_after_s <= 0:
            return
        until = round(self._now() + failure.retry_after_s, 3)
        if remote.pause is None or until > remote.pause.until + LOOK_S:
            why = failure.reason.partition(":")[0][:256]  # not what the peer says besides: it may be meant for one only
            remote.pause = Pause(until=until, length_s=failure.retry_after_s, why=why)
            self.observer.log("dials_paused", remote=remote.name, seconds=round(failure.retry_after_s, 1), reason=why)
            self._write_soon(remote)

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._is_due.wait()
            await self.clock.sleep(WRITE_AFTER_S * (1 + self.random()))
            self._is_due.clear()
            for remote in [remote for remote in self._remotes.values() if remote.is_unwritten]:
                if self.clock.monotonic() >= remote.ask_at:
                    await self._tell_store(remote)
            away_s = self._ask_at - self.clock.monotonic()
            if away_s > 0:
                await self.clock.sleep(away_s)
                self._is_due.set()

    async def _until_granted(self, remote: Remote, turn: Turn) -> None:
        while not turn.is_granted:
            pause = remote.pause_at(self._now())
            if pause is not None:
                await self._sit_out(remote, pause, turn)
            elif not self.limits.is_set and self._has_just_heard(remote):
                remote.grant(turn)
            else:
                await self._queue_up(remote, turn)

    async def _sit_out(self, remote: Remote, pause: Pause, turn: Turn) -> None:
        """Wait for the end of a pause, and then not to be one of many that dial at once."""
        wait_s = pause.until - self._now() + self.random() * min(pause.length_s, SPREAD_S)
        turn.wait(self._wait(wait_s, f"{remote.name} is left alone: {pause.why}"))
        await self.clock.sleep(wait_s)

    async def _queue_up(self, remote: Remote, turn: Turn) -> None:
        """Ask for all that wait, or let the one who does so ask for this one too. Comes back early for a pause."""
        remote.waiting[turn] = None
        if remote.wait is not None:
            turn.wait(remote.wait)
        async with remote.asking:
            while not turn.is_granted and remote.pause_at(self._now()) is None:
                remote.ended.clear()
                answer = await self._ask(remote)
                if turn.is_granted or remote.pause_at(self._now()) is not None:
                    continue
                wait_s = answer.wait_s + self.random() * min(answer.wait_s, JITTER_S)
                remote.wait = self._wait(wait_s, f"dials to {remote.name}, of which there may be {answer.why}")
                for each in remote.waiting:
                    each.wait(remote.wait)
                await self._hold_on(remote, wait_s)
        remote.waiting.pop(turn, None)

    async def _hold_on(self, remote: Remote, seconds: float) -> None:
        """Wait; if too many are in flight, no longer than until one of this process has ended."""
        try:
            async with asyncio.timeout(seconds):
                await (remote.ended.wait() if self.limits.at_once else self.clock.sleep(seconds))
        except TimeoutError:
            pass
        finally:
            remote.wait = None

    async def _ask(self, remote: Remote) -> Answer:
        """For all that wait."""
        if self.clock.monotonic() >= max(self._ask_at, remote.ask_at):
            answer = await self._tell_store(remote, is_for_turns=True)
            if answer is not None:
                return replace(answer, why=f"{answer.why}, of all hosts together")
        answer = self._ask_alone(remote)
        return replace(answer, why=f"{answer.why}, the share of this host while it cannot ask the state store")

    async def _tell_store(self, remote: Remote, *, is_for_turns: bool = False) -> Answer | None:
        """Write what has changed here, and ask for turns. None if that was not possible."""
        is_unwritten = remote.is_unwritten or bool(self.limits.at_once)
        try:
            async with asyncio.timeout(STORE_PATIENCE_S):
                answer = await self._exchange(remote, is_for_turns=is_for_turns)
        except (StoreError, TimeoutError) as error:
            self._miss(str(error) or f"the store has not answered within {STORE_PATIENCE_S:g} s")
            if is_unwritten:  # or it may be, for all that is known
                self._write_soon(remote)
            return None
        except GarbageRecordError as error:
            remote.ask_at = self.clock.monotonic() + GARBAGE_S
            self.observer.warn("dial_budget_not_shared", remote=remote.name, reason=str(error))
            return None
        if self._is_away:
            self._is_away = False
            self.observer.log("dial_budget_shared_again")
        if answer.is_full:
            remote.ask_at = self.clock.monotonic() + AWAY_S
            return None
        return answer

    async def _exchange(self, remote: Remote, *, is_for_turns: bool) -> Answer:
        asked, answer = Ask(self.instance_id), Answer()

        def decide(found: DialsPage | None) -> DialsPage | None:
            nonlocal asked, answer
            wanted, pause = len(remote.waiting) if is_for_turns else 0, remote.pause_at(self._now())
            asked = Ask(self.instance_id, wanted, remote.in_flight, remote.made.granted, pause)
            remote.is_unwritten = False
            page, answer = (found or DialsPage()).ask(remote.name, asked, self.limits, self._now())
            return page if found is not None or page.remotes else None

        await self.records.change(dials_key(remote.name), DialsPage, decide)
        if answer.is_full:
            return answer
        remote.heard_at = self.clock.monotonic()
        if remote.pause == asked.pause:  # else another one has come meanwhile
            remote.pause = answer.pause
        if remote.made.granted == asked.made:
            remote.made = RemoteDials()
        remote.take(answer.granted, self.limits, self._now())
        return answer

    def _ask_alone(self, remote: Remote) -> Answer:
        """As if this host had its share of the budget for itself."""
        now, hosts = self._now(), 1 + len(self.others.living())
        ask = Ask(self.instance_id, len(remote.waiting), remote.in_flight)
        _, answer = remote.mine.ask(ask, self.limits.share(hosts), now)
        if answer.granted and self.limits.in_window:
            remote.made = remote.made.at(self.limits, now).adding(self.limits, self.limits.grant(now, answer.granted))
            self._write_soon(remote)
        remote.take(answer.granted, self.limits, now)
        return answer

    def _miss(self, reason: str) -> None:
        """The store has not answered; what was written is not known."""
        self._ask_at = self.clock.monotonic() + AWAY_S
        if not self._is_away:
            self._is_away = True
            self.observer.warn("dial_budget_not_shared", reason=reason)

    def _write_soon(self, remote: Remote) -> None:
        remote.is_unwritten = True
        self._is_due.set()

    def _has_just_heard(self, remote: Remote) -> bool:
        now = self.clock.monotonic()
        return now < max(self._ask_at, remote.ask_at) or (
            remote.heard_at is not None and now - remote.heard_at < LOOK_S
        )

    def _wait(self, seconds: float, why: str) -> Wait:
        return Wait(self.clock.now() + timedelta(seconds=seconds), why)

    def _now(self) -> float:
        return self.clock.now().timestamp()

    def _remote_of(self, url: str) -> Remote | None:
        """None for a URL that cannot be dialled."""
        name = remote_of(url)
        if name is None:
            return None
        if name not in self._remotes:
            if len(self._remotes) >= KEPT:
                now, known = self._now(), self._remotes.items()
                self._remotes = {other: each for other, each in known if not each.is_idle(self.limits, now)}
            self._remotes[name] = Remote(name)
        return self._remotes[name]
