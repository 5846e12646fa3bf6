"""A charger in the manner of OCPP-J 1.6, on the side that listens: calls and results as arrays with ids, both ways."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from tests.processes import free_ports

CALL, RESULT, ERROR = 2, 3, 4


@dataclass(eq=False)
class Charger:
    """Answers calls, save UnlockConnector, and before each answer makes a call of its own. `heard`: those it got."""

    authorization: str
    port: int = field(default_factory=lambda: free_ports(1)[0])
    refused: int = 0
    subprotocols: list[str | None] = field(default_factory=list)
    heard: list[list[Any]] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    _calls: int = 0
    _server: Server | None = None

    @property
    def place(self) -> str:
        """Where it listens."""
        return f"ws://127.0.0.1:{self.port}"

    async def come(self) -> None:
        """Listen, at the same port as before."""
        self._server = await serve(
            self.serve_one, "127.0.0.1", self.port, subprotocols=[Subprotocol("ocpp1.6")], process_request=self.allow
        )

    async def go(self) -> None:
        """Be away, without a close frame."""
        assert self._server is not None
        for connection in list(self._server.connections):
            connection.transport.abort()
        self._server.close()
        await self._server.wait_closed()

    def allow(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse whoever does not have the password."""
        if request.headers.get("Authorization") != self.authorization:
            self.refused += 1
            return connection.respond(HTTPStatus.UNAUTHORIZED, "no\n")
        return None

    async def serve_one(self, connection: ServerConnection) -> None:
        """Until the client leaves."""
        self.subprotocols.append(connection.subprotocol)
        try:
            await self._call(connection, "BootNotification", {"chargePointModel": "M", "chargePointVendor": "V"})
            async for message in connection:
                await self._hear(connection, json.loads(message))
        except ConnectionClosed:
            pass

    async def _hear(self, connection: ServerConnection, message: list[Any]) -> None:
        if message[0] != CALL:
            self.results[message[1]] = message[2]
            return
        self.heard.append(message)
        _, id_, action, payload = message
        await self._call(connection, "Heartbeat", {})
        match action:
            case "UnlockConnector":
                return
            case "RemoteStartTransaction":
                is_known = payload.get("connectorId") in {1, 2}
                await _say(connection, RESULT, id_, {"status": "Accepted" if is_known else "Rejected"})
            case "SetChargingProfile":
                await _say(connection, RESULT, id_, {"status": "Accepted"})
            case _:
                await _say(connection, ERROR, id_, "NotImplemented", "", {})

    async def _call(self, connection: ServerConnection, action: str, payload: dict[str, Any]) -> None:
        self._calls += 1
        await _say(connection, CALL, f"charger-{self._calls}", action, payload)


async def _say(connection: ServerConnection, *message: Any) -> None:
    await connection.send(json.dumps(message, separators=(",", ":")))


@asynccontextmanager
async def charging(charger: Charger) -> AsyncIterator[Charger]:
    """Listen on a port of the loopback interface."""
    await charger.come()
    try:
        yield charger
    finally:
        await charger.go()
