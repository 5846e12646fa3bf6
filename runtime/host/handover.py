"""Moving a connection to another host without a missing frame: make before break, seen from both sides.

The record's `handover` decides every race, since each side writes to it by compare-and-set only: who has cleared it
first, or has taken the connection back first, is right.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from runtime import ownership
from runtime.errors import GarbageRecordError, OwnershipLostError, StoreError
from runtime.host.tools import RETRY_S, Tools
from runtime.models.connection import WebSocketConnection
from runtime.models.status import ConnectionStatus

LOOK_EVERY_S = 0.25  # nudges may be lost, and a handover is short
WARNING = "handover_failed"


class Ending(Enum):
    """How a departure ended for the owner that offered the connection."""

    KEPT = "nobody took it"
    TAKEN_BACK = "who took it did not connect in time"
    LEFT = "the other host has it"
    LOST = "a third host owns it, or nobody"


@dataclass(slots=True)
class Departure:
    """The giving side. `see` is told every record that is read; `stays` tells whether it may own the connection on."""

    tools: Tools
    record: WebSocketConnection
    to: str
    within_s: float
    stays: Callable[[], bool]
    see: Callable[[WebSocketConnection | None], None]
    connection_id: str = field(init=False)
    instance_id: str = field(init=False)
    epoch: int = field(init=False)
    is_connected: bool = False
    was_connected: bool = False  # when it ended: the other host was, before this one stopped to read
    is_lost: bool = False
    is_taken: bool = False
    taken_back: WebSocketConnection | None = None

    def __post_init__(self) -> None:
        assert self.record.instance_id is not None
        self.connection_id, self.instance_id, self.epoch = self.record.id, self.record.instance_id, self.record.epoch

    def observe(self, record: WebSocketConnection | None) -> None:
        """What the record says now."""
        self.is_taken = record is not None and ownership.is_taken_from(record, self.instance_id, self.epoch)
        self.is_connected = self.is_taken and record is not None and record.status is ConnectionStatus.CONNECTED
        is_mine = record is not None and ownership.owner_of(record) == (self.instance_id, self.epoch)
        self.is_lost = not self.is_taken and not is_mine

    async def run(self) -> Ending:
        """Offer the connection, and wait until the other host is connected. Raises nothing."""
        try:
            with suppress(StoreError):  # it may be offered all the same
                await self._offer()
            was_there = self.to in self.tools.others.living()
            await self._until(lambda: self.is_taken or (was_there and self.to not in self.tools.others.living()))
            if not self.is_taken and await self._withdraw():
                return Ending.KEPT
        except GarbageRecordError as error:
            self._warn(error)
            return Ending.KEPT
        except OwnershipLostError:
            return Ending.LOST
        overlaps = self.record.options.overlap
        await self._until(lambda: self.is_connected or not overlaps)
        if self.is_lost:
            return Ending.LOST
        while not self.is_connected and overlaps and self.stays():
            ending = await self._take_back()
            if ending is not None:
                return ending
            await self.tools.clock.sleep(RETRY_S)
            await self.look()
        self.was_connected = self.is_connected
        return Ending.LEFT

    async def finish(self, last_sequence: int, read_until: datetime | None) -> None:
        """All that was read is published: let the other host publish what it held back. Raises nothing."""

        def decide(record: WebSocketConnection | None) -> WebSocketConnection | None:
            return ownership.finish(
                record,
                instance_id=self.instance_id,
                epoch=self.epoch,
                last_sequence=last_sequence,
                read_until=read_until,
            )

        async def write() -> None:
            await self.tools.records.update(self.connection_id, decide)

        with suppress(GarbageRecordError):
            await self.tools.until_written(self.connection_id, write, WARNING)
            await self.tools.nudge(self.to, self.connection_id)

    async def _offer(self) -> None:
        def decide(record: WebSocketConnection | None) -> WebSocketConnection | None:
            self.observe(record)
            return ownership.offer(
                record, instance_id=self.instance_id, epoch=self.epoch, to=self.to, within_s=self.within_s
            )

        await self.tools.records.update(self.connection_id, decide)
        await self.tools.nudge(self.to, self.connection_id)

    async def _withdraw(self) -> bool:
        """Take the offer back; False when the connection was taken just now. Raises as `run` translates.

        However long that takes: an offer that stays would be taken when its owner no longer expects it.
        """

        async def write() -> None:
            await self.tools.records.update(
                self.connection_id,
                lambda record: ownership.withdraw(record, instance_id=self.instance_id, epoch=self.epoch),
            )

        try:
            await self.tools.until_written(self.connection_id, write, WARNING)
        except OwnershipLostError:
            await self.look()
            if self.is_taken:
                return False
            raise
        return True

    async def _take_back(self) -> Ending | None:
        """None: nobody can tell yet, since the store does not answer."""
        clock, ours = self.tools.clock, (self.instance_id, self.epoch + 2)

        def decide(record: WebSocketConnection | None) -> WebSocketConnection | None:
            if self.taken_back is not None and record is not None and ownership.owner_of(record) == ours:
                return None  # written, though we were not told so
            self.taken_back = ownership.take_back(
                record, instance_id=self.instance_id, epoch=self.epoch, now=clock.now()
            )
            return self.taken_back

        try:
            stored = await self.tools.records.update(self.connection_id, decide)
        except StoreError as error:
            self._warn(error)
            return None
        except GarbageRecordError:  # then nobody has it
            return Ending.LOST
        if self.taken_back is None or stored is None:
            self.see(stored)
            return Ending.LOST if self.is_lost else None
        self.taken_back = stored
        return Ending.TAKEN_BACK

    async def _until(self, condition: Callable[[], bool]) -> None:
        clock = self.tools.clock
        deadline = clock.monotonic() + self.within_s
        while not condition():
            if self.is_lost or clock.monotonic() >= deadline:
                return
            await clock.sleep(LOOK_EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Read the record."""
        with suppress(StoreError, GarbageRecordError):
            self.see(await self.tools.records.get(self.connection_id))

    def _warn(self, error: Exception) -> None:
        self.tools.observer.warn(WARNING, id=self.connection_id, reason=str(error))


@dataclass(slots=True)
class Arrival:
    """The taking side: waits until the host before has published all, or is gone, or is late."""

    tools: Tools
    record: WebSocketConnection
    see: Callable[[WebSocketConnection | None], None]
    finished: WebSocketConnection | None = field(default=None)

    def observe(self, record: WebSocketConnection | None) -> None:
        """What the record says now."""
        if record is not None and record.handover is not None and record.handover.is_finished:
            self.finished = record

    async def run(self) -> datetime | None:
        """Return when what was held back may be published: None, or since when nobody may have read.

        Raises OwnershipLostError when the connection is another's by then.
        """
        handover, clock, others = self.record.handover, self.tools.clock, self.tools.others
        assert handover is not None
        deadline = clock.monotonic() + 2 * handover.within_s
        while self.finished is None and clock.monotonic() < deadline and not others.is_gone(handover.source):
            await clock.sleep(LOOK_EVERY_S)
            with suppress(StoreError, GarbageRecordError):
                self.see(await self.tools.records.get(self.record.id))
        await self._close()
        if self.finished is not None and self.finished.handover is not None:
            return self.finished.handover.read_until
        # As its lease said at the claim: a later word may be that of the next process under its id.
        return self.record.read_until or clock.now()

    async def _close(self) -> None:
        """Until this is written, the host before may take the connection back."""
        owner, epoch = self.record.instance_id, self.record.epoch
        assert owner is not None

        def decide(record: WebSocketConnection | None) -> WebSocketConnection | None:
            self.observe(record)
            return ownership.settle_in(record, instance_id=owner, epoch=epoch, now=self.tools.clock.now())

        async def write() -> None:
            await self.tools.records.update(self.record.id, decide)

        try:
            await self.tools.until_written(self.record.id, write, WARNING)
        except GarbageRecordError as error:
            raise OwnershipLostError(str(error)) from None
