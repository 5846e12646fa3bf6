"""A chat gateway in the manner of the large ones: hello, identify, ready; heartbeats; resume; tokens for one socket.

A session outlives a broken socket, and ends when its client closes with 1000 or 1001.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import WSMsgType, web

DISPATCH, HEARTBEAT, IDENTIFY, RESUME, INVALID_SESSION, HELLO, HEARTBEAT_ACK = 0, 1, 2, 6, 9, 10, 11
BAD_TOKEN = 4004


@dataclass(eq=False)
class Session:
    """What was said in it, numbered from 1; `socket`: where it is heard, if it is."""

    id: str
    said: list[dict[str, Any]] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None


@dataclass(eq=False)
class Gateway:
    """Gives a token for the secret of a client, and takes each once, and a password of a client that has none.

    A client that sends no heartbeat for `heartbeat_s` is cut off. `turned_away`: (status, headers) for the next dials.
    """

    secret: str
    password: str
    heartbeat_s: float = 4
    port: int = 0  # any free one
    heartbeats: int = 0
    dialled: list[float] = field(default_factory=list)
    turned_away: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)  # how: identify, resume, invalid, bad token
    sessions: dict[str, Session] = field(default_factory=dict)
    _tokens: set[str] = field(default_factory=set)
    _numbers: count[int] = field(default_factory=lambda: count(1))
    _sockets: dict[web.WebSocketResponse, asyncio.Transport] = field(default_factory=dict)

    async def say(self, text: str) -> None:
        """Write in all sessions, also in those that nobody hears now."""
        for session in self.sessions.values():
            await self._dispatch(session, "MESSAGE_CREATE", {"content": text})

    def cut(self) -> None:
        """Break all sockets, without a close frame."""
        for transport in list(self._sockets.values()):
            transport.abort()

    async def send_away(self, code: int) -> None:
        """Close all sockets with a code."""
        for socket in list(self._sockets):
            await socket.close(code=code)

    async def give_token(self, request: web.Request) -> web.Response:
        """A token that is good for one socket."""
        if (await request.json())["secret"] != self.secret:
            return web.Response(status=401)
        token = f"token-{next(self._numbers)}"
        self._tokens.add(token)
        return web.json_response({"token": token})

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """One dial."""
        self.dialled.append(asyncio.get_running_loop().time())
        if self.turned_away:
            status, headers = self.turned_away.pop(0)
            return web.Response(status=status, headers=headers)
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        assert isinstance(request.transport, asyncio.Transport)
        self._sockets[socket] = request.transport
        session: Session | None = None
        try:
            await _say(socket, {"op": HELLO, "d": {"heartbeat_interval": int(self.heartbeat_s * 1000)}})
            async with asyncio.timeout(5):
                session = await self._open(socket, json.loads(await socket.receive_str()))
            while session is not None and await self._hear(socket, session):
                pass
        except (TimeoutError, TypeError, ConnectionError):
            pass  # TypeError: aiohttp's for a close where a text was asked for
        finally:
            del self._sockets[socket]
            if session is not None and session.socket is socket:
                session.socket = None
        return socket

    async def _open(self, socket: web.WebSocketResponse, asked: dict[str, Any]) -> Session | None:
        data = asked["d"]
        if data["token"] != self.password and data["token"] not in self._tokens:
            self.opened.append("bad token")
            await socket.close(code=BAD_TOKEN)
            return None
        self._tokens.discard(data["token"])
        if asked["op"] == IDENTIFY:
            self.opened.append("identify")
            session = Session(f"session-{next(self._numbers)}", socket=socket)
            self.sessions[session.id] = session
            await self._dispatch(session, "READY", {"session_id": session.id})
            return session
        known = self.sessions.get(data["session_id"])
        if known is None:
            self.opened.append("invalid")
            await _say(socket, {"op": INVALID_SESSION, "d": False})
            return None
        self.opened.append("resume")
        known.socket = socket
        for message in known.said[data["seq"] :]:
            await _say(socket, message)
        await self._dispatch(known, "RESUMED", {})
        return known

    async def _hear(self, socket: web.WebSocketResponse, session: Session) -> bool:
        message = await socket.receive(timeout=self.heartbeat_s)
        if message.type is WSMsgType.CLOSE and message.data in {1000, 1001}:
            self.sessions.pop(session.id, None)
        if message.type is not WSMsgType.TEXT:
            return False
        if json.loads(message.data)["op"] == HEARTBEAT:
            self.heartbeats += 1
            await _say(socket, {"op": HEARTBEAT_ACK})
        return True

    async def _dispatch(self, session: Session, kind: str, data: dict[str, Any]) -> None:
        session.said.append({"op": DISPATCH, "s": len(session.said) + 1, "t": kind, "d": data})
        if session.socket is not None:
            await _say(session.socket, session.said[-1])


async def _say(socket: web.WebSocketResponse, message: dict[str, Any]) -> None:
    with suppress(ConnectionError):  # it is on its way out
        await socket.send_str(json.dumps(message))


@asynccontextmanager
async def chatting(gateway: Gateway) -> AsyncIterator[Gateway]:
    """Serve on a port of the loopback interface."""
    app = web.Application()
    app.router.add_post("/token", gateway.give_token)
    app.router.add_get("/ws", gateway.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", gateway.port).start()
    gateway.port = runner.addresses[0][1]
    try:
        yield gateway
    finally:
        gateway.cut()
        await runner.cleanup()
