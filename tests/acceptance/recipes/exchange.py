"""An exchange in the manner of the large ones: subscriptions, numbered trades, a socket cut after a day, few dials."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

SYMBOLS = ("BTCUSDT", "ETHUSDT")
TOLD_AGAIN = 5


@dataclass(eq=False)
class Exchange:
    """Counts up for all symbols, whoever listens. A subscriber is told the last trades first.

    `day_s`: after which it cuts a socket; 0: never.

    It allows `dials` in `window_s`, and answers 429 to more; 0: any number.
    """

    interval_s: float = 0.02
    day_s: float = 0
    dials: int = 0
    window_s: float = 0
    number: int = 0
    cuts: int = 0
    too_many: int = 0
    left_with: list[int | None] = field(default_factory=list)
    subscribed: Counter[str] = field(default_factory=Counter)  # sockets, ever
    at_once: Counter[str] = field(default_factory=Counter)  # sockets, at most
    _now: dict[ServerConnection, str] = field(default_factory=dict)
    _mute: set[ServerConnection] = field(default_factory=set)
    _dialled: list[float] = field(default_factory=list)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)  # a trade, or a subscription
    _server: Server | None = None

    @property
    def place(self) -> str:
        """Where it listens."""
        assert self._server is not None
        return f"ws://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def fall_silent(self) -> None:
        """Send nothing more on the sockets that are open; pings are still answered."""
        self._mute.update(self._now)

    async def announce_the_end(self) -> None:
        """Tell all sockets that are open that the server will close them."""
        for socket in list(self._now):
            await socket.send(json.dumps({"e": "serverShutdown"}))

    async def trade(self) -> None:
        """Make trades until cancelled."""
        while True:
            await asyncio.sleep(self.interval_s)
            async with self._turn:
                self.number += 1
                for socket, symbol in list(self._now.items()):
                    if socket not in self._mute:
                        await _give(socket, symbol, self.number)

    def allow(self, connection: ServerConnection, request: Request) -> Response | None:
        """Refuse a dial beyond those that are allowed."""
        now = asyncio.get_running_loop().time()
        self._dialled = [at for at in self._dialled if at > now - self.window_s] + [now]
        if self.dials and len(self._dialled) > self.dials:
            self.too_many += 1
            return connection.respond(HTTPStatus.TOO_MANY_REQUESTS, "too many dials\n")
        return None

    async def serve_one(self, connection: ServerConnection) -> None:
        """Take subscriptions until the client leaves, or its day is over."""
        try:
            async with asyncio.timeout(self.day_s or None):
                async for message in connection:
                    await self._answer(connection, json.loads(message))
        except TimeoutError:
            self.cuts += 1
            connection.transport.abort()
        except ConnectionClosed:
            pass
        finally:
            self._now.pop(connection, None)
            self._mute.discard(connection)
        self.left_with.append(connection.close_code)

    async def _answer(self, connection: ServerConnection, asked: dict) -> None:
        symbol = asked["params"][0].partition("@")[0].upper()
        if symbol not in SYMBOLS:
            await connection.send(json.dumps({"error": {"code": 2, "msg": "no such stream"}, "id": asked["id"]}))
            return
        await connection.send(json.dumps({"result": None, "id": asked["id"]}))
        async with self._turn:
            for number in range(max(1, self.number - TOLD_AGAIN + 1), self.number + 1):
                await _give(connection, symbol, number)
            self._now[connection] = symbol
        self.subscribed[symbol] += 1
        self.at_once[symbol] = max(self.at_once[symbol], Counter(self._now.values())[symbol])


async def _give(socket: ServerConnection, symbol: str, number: int) -> None:
    with suppress(ConnectionClosed):  # it has just left
        await socket.send(json.dumps({"e": "trade", "s": symbol, "t": number, "p": "64000.10"}))


@asynccontextmanager
async def trading(exchange: Exchange, port: int = 0) -> AsyncIterator[Exchange]:
    """Serve on a port of the loopback interface; 0: any free one."""
    async with serve(exchange.serve_one, "127.0.0.1", port, process_request=exchange.allow) as server:
        exchange._server = server
        busy = asyncio.create_task(exchange.trade())
        try:
            yield exchange
        finally:
            busy.cancel()
