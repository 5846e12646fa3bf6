"""A peer that follows a script: what it does is data, so that a table of cases can be read."""

from __future__ import annotations

import asyncio
import socket
import struct
from base64 import b64encode
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum, auto
from hashlib import sha1

from tests.peers import PING, PONG, Talk, frame

_ACCEPT_KEY = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Do(Enum):
    """A step without data."""

    HEAR = auto()  # wait for the client's handshake
    SHAKE = auto()  # and answer it as one should
    END = auto()  # write no more, and read on
    HANG_UP = auto()
    RESET = auto()  # as the kernel does it for a process that died


@dataclass(frozen=True, slots=True)
class Drip:
    """Write one byte after the other, again and again until the client has gone."""

    data: bytes
    every_s: float


@dataclass(frozen=True, slots=True)
class Flood:
    """Write the same again and again until the client has gone."""

    data: bytes
    every_s: float = 0


Step = bytes | float | Do | Drip | Flood
"""A number is a wait in seconds. Bytes are written; `{accept}` in them is the answer to the key of the handshake."""


class Ear(Enum):
    """What it does with what the client sends after the handshake."""

    IGNORES = auto()  # reads, and answers nothing
    ANSWERS = auto()  # pongs
    DEAF = auto()  # reads nothing


def scripted(script: tuple[Step, ...], ear: Ear) -> Callable[[Talk], Awaitable[None]]:
    """What `listening` asks for. It stays until the client goes, unless the script says otherwise."""

    async def talk(talk: Talk) -> None:
        performance = _Performance(talk)
        opening = script.index(Do.SHAKE) + 1 if Do.SHAKE in script else len(script)
        for step in script[:opening]:
            await performance.do(step)
        hearing = asyncio.create_task(_hear(talk, ear))
        try:
            for step in script[opening:]:
                await performance.do(step)
            await hearing
        finally:
            hearing.cancel()
            await asyncio.wait({hearing})

    return talk


@dataclass(slots=True)
class _Performance:
    talk: Talk
    proof: bytes = b""

    def accept(self, request: str) -> None:
        key = next(line.split(": ")[1] for line in request.split("\r\n") if line.startswith("Sec-WebSocket-Key"))
        self.proof = b64encode(sha1((key + _ACCEPT_KEY).encode()).digest())

    async def do(self, step: Step) -> None:
        match step:
            case Do():
                await self._do_plainly(step)
            case Drip(data, every_s):
                while True:
                    for byte in data:
                        await self.talk.write(bytes([byte]))
                        await asyncio.sleep(every_s)
            case Flood(data, every_s):
                while True:
                    await self.talk.write(data)
                    await asyncio.sleep(every_s)
            case float():
                await asyncio.sleep(step)
            case bytes():
                await self.talk.write(step.replace(b"{accept}", self.proof))

    async def _do_plainly(self, step: Do) -> None:
        writer = self.talk.writer
        match step:
            case Do.HEAR:
                self.accept(await self.talk.request())
            case Do.SHAKE:
                self.accept(await self.talk.accept())
            case Do.END:
                writer.write_eof()
            case Do.HANG_UP:
                writer.close()
            case Do.RESET:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()


async def _hear(talk: Talk, ear: Ear) -> None:
    """Until the client has gone."""
    if ear is Ear.DEAF:
        await asyncio.Event().wait()
    with suppress(OSError, EOFError):
        if ear is Ear.IGNORES:
            await talk.until_gone()
        while True:
            opcode, payload = await talk.read_frame()
            if opcode == PING:
                await talk.write(frame(PONG, payload))
