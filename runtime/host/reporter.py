"""Tells how an owned connection is: an event at once, the actual half of the record soon, the last write for sure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from runtime import ownership
from runtime.backoff import Retry
from runtime.errors import GarbageRecordError, OwnershipLostError
from runtime.host.remote import Wait
from runtime.host.status import Write
from runtime.host.tools import Tools
from runtime.models.connection import WebSocketConnection
from runtime.models.status import ConnectionStatus, transition
from runtime.models.wire import format_time

TELL_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class _Report:
    """The write of a status, which is kept as long as it holds."""

    instance_id: str
    epoch: int
    status: ConnectionStatus
    last_error: str | None
    read_until: datetime | None
    now: datetime

    def __call__(self, stored: WebSocketConnection | None) -> WebSocketConnection | None:
        return ownership.report(
            stored,
            instance_id=self.instance_id,
            epoch=self.epoch,
            status=self.status,
            last_error=self.last_error,
            read_until=self.read_until,
            now=self.now,
        )


@dataclass(slots=True)
class Reporter:
    """The one place where the status of an owned connection changes."""

    tools: Tools
    status: ConnectionStatus
    _written: Write | None = None

    def begin(self, record: WebSocketConnection) -> None:
        """The connection was claimed; its record says so already."""
        self.tools.announcer.status(record, self.status)

    def enter(
        self,
        record: WebSocketConnection,
        status: ConnectionStatus,
        read_until: datetime | None,
        reason: str | None = None,
        retry: Retry | None = None,
    ) -> None:
        """The connection is in this status now. `read_until`: since when nobody reads, or nobody did before."""
        self.status = transition(self.status, status)
        self.tools.announcer.status(
            record,
            status,
            reason=reason,
            attempt=retry.attempt if retry else None,
            retry_in_s=retry.delay_s if retry else None,
        )
        self._write_soon(record, status, read_until, reason)

    def wait(self, record: WebSocketConnection, wait: Wait) -> None:
        """The dial has to wait for its turn."""
        wait_s = (wait.until - self.tools.clock.now()).total_seconds()
        if wait_s >= TELL_AFTER_S:
            reason = f"waits until {format_time(wait.until)}: {wait.why}"
            self.tools.announcer.status(record, self.status, reason=reason, retry_in_s=wait_s)

    def _write_soon(
        self, record: WebSocketConnection, status: ConnectionStatus, read_until: datetime | None, reason: str | None
    ) -> None:
        now = self.tools.clock.now()
        self._written = _Report(_owner(record), record.epoch, status, reason, read_until, now)
        self.tools.writer.put(record.id, self._written)

    def repeat(self, record: WebSocketConnection) -> None:
        """Write the status that was told last once more: the record says something else."""
        if self._written is not None and self.status is not ConnectionStatus.DISCONNECTED:
            self.tools.writer.put(record.id, self._written)

    def exchanged(self, record: WebSocketConnection, why: str) -> None:
        """The connection has another socket, and is as it was."""
        self.tools.announcer.status(record, self.status, reason=f"its socket was exchanged for a new one: {why}")

    def go_on(self, record: WebSocketConnection, read_until: datetime | None) -> None:
        """The connection is owned under another epoch, and is as it was."""
        reason = "the other host did not connect in time"
        self.tools.announcer.status(record, self.status, reason=reason)
        self._write_soon(record, self.status, read_until, reason)

    async def end(
        self,
        record: WebSocketConnection,
        reason: str | None,
        fail_outbox: Callable[[str], Awaitable[None]],
        *,
        is_published: bool,
    ) -> None:
        """Disconnected, for good or until a command: event, record, outbox."""
        self.status = transition(self.status, ConnectionStatus.DISCONNECTED)
        self.tools.announcer.status(record, self.status, reason=reason or "by command")

        async def write() -> None:
            await self.tools.records.update(
                record.id,
                lambda stored: ownership.end(
                    stored,
                    instance_id=_owner(record),
                    epoch=record.epoch,
                    generation=record.generation,
                    reason=reason,
                    now=self.tools.clock.now(),
                    is_published=is_published,
                ),
            )
            await fail_outbox(reason or "the connection was disconnected")

        await self._until_written(record, write)

    async def let_go(self, record: WebSocketConnection) -> None:
        """What has ended is published by now."""

        async def write() -> None:
            await self.tools.records.update(
                record.id, lambda stored: ownership.let_go(stored, instance_id=_owner(record), epoch=record.epoch)
            )

        await self._until_written(record, write)

    async def release(self, record: WebSocketConnection, read_until: datetime) -> bool:
        """Left for the next owner; False when another owns it already."""

        async def write() -> None:
            await self.tools.records.update(
                record.id,
                lambda stored: ownership.release(
                    stored,
                    instance_id=_owner(record),
                    epoch=record.epoch,
                    reason="the manager was stopped",
                    read_until=read_until,
                    now=self.tools.clock.now(),
                ),
            )

        return await self._until_written(record, write)

    async def _until_written(self, record: WebSocketConnection, write: Callable[[], Awaitable[None]]) -> bool:
        """The last write, until it is done (True), or another owns the record."""
        self.tools.writer.forget(record.id)
        try:
            await self.tools.until_written(record.id, write, "record_write_failed")
        except (OwnershipLostError, GarbageRecordError):
            return False
        return True


def _owner(record: WebSocketConnection) -> str:
    assert record.instance_id is not None
    return record.instance_id
