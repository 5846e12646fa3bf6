"""A feed in a process of its own, so that it keeps up: it counts, bursts or floods, and tells what it sees.

`/numbers/SLOT/…` gets the number of each round, every slot at its own tenth of the round. `/burst/COUNT/…` gets COUNT
numbered messages of mixed sizes as fast as it reads, from its first message on. `/flood/BYTES/…` gets one message for
ever. Any other path gets nothing. Its second port refuses every dial until SIGUSR1. SIGUSR2 cuts all connections.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import uvloop

from tests.peers import CLOSE, PING, PONG, TEXT, Talk, frame, until

ROOT = Path(__file__).parents[2]
SLOTS = 10
SIZES = (20, 200, 1000, 4000)  # of the messages of a burst, in turn
CHUNK_BYTES = 64 * 1024


def slot_of(connection_id: str) -> int:
    """The slot of a connection whose id ends in a number, where connections are dealt to the slots by that."""
    found = re.search(r"\d+$", connection_id)
    assert found is not None, connection_id
    return int(found[0]) % SLOTS


def sent_at(payload: str) -> tuple[int, float]:
    """The number in a message of the feed, and the Unix time at which it was sent."""
    number, at, *_ = payload.split()
    return int(number), float(at)


class Feed:
    """The side of the feed's process."""

    def __init__(self, round_s: float) -> None:
        self.round_s = round_s
        self.slots: list[set[asyncio.StreamWriter]] = [set() for _ in range(SLOTS)]
        self.bursts: set[asyncio.Task[None]] = set()
        self.served: set[asyncio.StreamWriter] = set()

    async def run(self) -> None:
        """Serve until killed, or until the process that started it is gone."""
        later = socket.socket()
        later.bind(("127.0.0.1", 0))  # and does not listen
        opened = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, opened.set)
        loop.add_signal_handler(signal.SIGUSR2, self.cut)
        loop.add_reader(sys.stdin.fileno(), os._exit, 0)  # nobody writes to it: it is readable at its end
        server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=1000)
        tell(port=server.sockets[0].getsockname()[1], later=later.getsockname()[1])
        counting = asyncio.create_task(self.count())
        await opened.wait()
        await asyncio.start_server(self.serve, sock=later)
        await counting

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        talk = Talk(reader, writer)
        self.served.add(writer)
        with suppress(OSError, EOFError):
            path = (await talk.accept()).split()[1]
            _, kind, number, *_ = path.split("/")
            if kind == "flood":
                await self.flood(talk, int(number))
            slot = self.slots[int(number)] if kind == "numbers" else set()
            slot.add(writer)
            tell(opened=path, at=time.time())
            try:
                await self.listen(talk, path, int(number) if kind == "burst" else 0)
            finally:
                slot.discard(writer)
        writer.transport.abort()
        self.served.discard(writer)

    def cut(self) -> None:
        """End all connections at once, without a word."""
        tell(cut=len(self.served), at=time.time())
        for writer in self.served:
            writer.transport.abort()

    async def count(self) -> None:
        """Send the number of the round to slot after slot; what is late is made up for."""
        start, tick = time.monotonic(), 0
        while True:
            await asyncio.sleep(max(0, start + tick * self.round_s / SLOTS - time.monotonic()))
            number, slot = divmod(tick, SLOTS)
            at = time.time()
            tell(number=number, slot=slot, at=at)
            message = frame(TEXT, b"%d %.6f" % (number, at))
            for writer in self.slots[slot]:
                writer.write(message)
            tick += 1

    async def listen(self, talk: Talk, path: str, burst: int) -> None:
        """Tell what the peer says, until it closes."""
        code: int | None = None
        try:
            while code is None:
                opcode, payload = await talk.read_frame()
                if opcode == TEXT:
                    tell(heard=payload.decode(), path=path)
                    if burst:
                        self.bursts.add(asyncio.create_task(self.burst(talk, burst)))
                        burst = 0
                elif opcode == PING:
                    await talk.write(frame(PONG, payload))
                elif opcode == CLOSE:
                    code = int.from_bytes(payload[:2])
                    await talk.write(frame(CLOSE, payload))
        finally:
            tell(closed=code, path=path, at=time.time())

    async def burst(self, talk: Talk, count: int) -> None:
        """Send numbered messages of mixed sizes as fast as the peer reads."""
        chunk = bytearray()
        for number in range(count):
            head = b"%d %.6f " % (number, time.time())
            chunk += frame(TEXT, head.ljust(SIZES[number % len(SIZES)], b"."))
            if len(chunk) >= CHUNK_BYTES or number == count - 1:
                await talk.write(bytes(chunk))
                chunk.clear()
        tell(burst=count)

    async def flood(self, talk: Talk, size: int) -> None:
        """Send one message for ever."""
        message = frame(TEXT, b"x" * size)
        chunk = message * (CHUNK_BYTES // len(message) + 1)
        while True:
            await talk.write(chunk)


def tell(**what: object) -> None:
    """One line for the test."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


class FeedProcess:
    """The side of the test."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self._told = (folder / "feed.ndjson").open("rb")
        self._rest = b""
        self.lines: list[dict[str, Any]] = []
        self.port = self.later = 0

    def url(self, path: str, *, later: bool = False) -> str:
        return f"ws://127.0.0.1:{self.later if later else self.port}/{path}"

    def connects(self, count: int) -> list[dict[str, Any]]:
        """Commands for so many connections that get numbers, `c0` and so on, dealt to the slots."""
        return [
            {"id": f"c{n}", "url": self.url(f"numbers/{n % SLOTS}/{n}"), "topic": "t", "autoReconnect": True}
            for n in range(count)
        ]

    def open_later(self) -> None:
        """Let the second port take dials from now on."""
        self.process.send_signal(signal.SIGUSR1)

    def cut(self) -> None:
        """End all connections at once."""
        self.process.send_signal(signal.SIGUSR2)

    def told(self, key: str) -> list[dict[str, Any]]:
        """All lines about something."""
        *lines, self._rest = (self._rest + self._told.read()).split(b"\n")
        self.lines += map(json.loads, lines)
        return [line for line in self.lines if key in line]

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()  # closes its standard input too
        self._told.close()


@asynccontextmanager
async def feeding(folder: Path, round_s: float = 0.1) -> AsyncIterator[FeedProcess]:
    """Run a feed."""
    with (folder / "feed.ndjson").open("wb") as out:
        command = [sys.executable, "-m", "tests.acceptance.feed", str(round_s)]
        feed = FeedProcess(folder, subprocess.Popen(command, stdin=subprocess.PIPE, stdout=out, cwd=ROOT))
    try:
        await until(lambda: feed.told("port") or feed.process.poll() is not None, "the feed listens")
        (listening,) = feed.told("port")
        feed.port, feed.later = listening["port"], listening["later"]
        yield feed
    finally:
        feed.close()


if __name__ == "__main__":
    uvloop.run(Feed(float(sys.argv[1])).run())
