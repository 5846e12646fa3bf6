"""From a record to a socket: prepare, wait for the turn, dial; and what its loss says about its remote host."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from runtime.failure import DialError, SocketLost
from runtime.host.preparation import Prepared
from runtime.host.remote import Wait, remote_of
from runtime.host.tools import Tools
from runtime.models.connection import WebSocketConnection
from runtime.ports import Socket


@dataclass(slots=True)
class Line:
    """A socket after its handshake, and what it was dialled with."""

    tools: Tools
    record: WebSocketConnection
    prepared: Prepared
    socket: Socket

    def heed(self, lost: SocketLost) -> SocketLost:
        """Learn from the loss of the socket. Returns the same without secrets."""
        self.tools.dials.heed(self.prepared.url, lost.failure)
        self.tools.preparation.heed(self.record, lost.failure)
        return self.prepared.secrets.over(lost)


async def dial(tools: Tools, record: WebSocketConnection, tell: Callable[[Wait | None], None]) -> Line:
    """Prepare, and dial in turn. `tell`: of a wait for it, None when it is over. Raises DialError."""
    try:
        return await _dial_in_turn(tools, record, tell)
    except DialError as error:
        tools.preparation.heed(record, error.failure)
        raise
    finally:
        tell(None)


async def _dial_in_turn(tools: Tools, record: WebSocketConnection, tell: Callable[[Wait | None], None]) -> Line:
    """After a wait prepare anew: a token may live for seconds."""
    prepared = await tools.preparation.prepare(record)
    while True:
        async with tools.dials.turn(prepared.url, tell) as turn:
            remote = remote_of(prepared.url)
            if turn.has_waited:
                prepared = await tools.preparation.prepare(record)
            if remote_of(prepared.url) == remote:  # else this is the turn of another one
                return Line(tools, record, prepared, await _dial_now(tools, record, prepared))


async def _dial_now(tools: Tools, record: WebSocketConnection, prepared: Prepared) -> Socket:
    try:
        return await tools.dialer.dial(prepared.url, record.options, prepared.handshake)
    except DialError as error:
        tools.dials.heed(prepared.url, error.failure)
        raise
