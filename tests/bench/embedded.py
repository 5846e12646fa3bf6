"""Frames a second from socket to standard output, as ratios to the library alone and to a naive program.

All three read the same saturating feed, in turn, round after round; standard output is a file.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tests.acceptance.feed import FeedProcess, feeding
from tests.acceptance.manager import managing
from tests.bench import references
from tests.bench.table import Group, Result, against, alone
from tests.peers import TEXT, frame, until

FRAME_BYTES = 200
CONNECTIONS = (1, 100)
PROGRAMS = ("raw", "naive", "manager")
PAIRS = (("naive", "raw"), ("manager", "raw"), ("manager", "naive"))
ROUNDS = 5
WARM_UP_S, WINDOW_S = 1.5, 1.5
QUEUED = 10_000  # messages in all queues of the manager: they are full before the window opens, not filling within it
_HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def measure(folder: Path) -> Group:
    """The rows; also what the feed can send, and its load (1: a whole core) at the busiest."""
    rates: dict[tuple[str, int], list[float]] = {}
    async with feeding(folder) as feed:
        capacity = min([await asyncio.to_thread(_capacity, feed, count) for count in CONNECTIONS])
        load = 0.0
        for _ in range(ROUNDS):
            for count in CONNECTIONS:
                for program in PROGRAMS:
                    busy, start = _cpu_s(feed), time.monotonic()
                    rates.setdefault((program, count), []).append(await _rate(program, feed, count))
                    load = max(load, (_cpu_s(feed) - busy) / (time.monotonic() - start))
    rows = _rows(rates)
    is_limit = capacity < 1.5 * max(row.value for row in rows)
    return Group(
        f"{FRAME_BYTES}-byte frames to a file",
        rows,
        {
            "frameBytes": FRAME_BYTES,
            "rounds": ROUNDS,
            "windowS": WINDOW_S,
            "feedCapacity": round(capacity),
            "feedLoad": round(load, 3),
        },
        f"The feed alone sends {capacity:,.0f} frames/s" + (": it is the limit." if is_limit else "."),
    )


def _rows(rates: dict[tuple[str, int], list[float]]) -> list[Result]:
    rows = []
    for count in CONNECTIONS:
        end = f"{count} connection{'s' if count > 1 else ''}"
        rows.append(alone(f"raw, {end}", "frames/s", rates["raw", count]))
        for name, reference in PAIRS:
            others = rates[reference, count]
            rows.append(against(f"{name}, {end}", "frames/s", rates[name, count], f"{reference}, {end}", others))
    return rows


async def _rate(program: str, feed: FeedProcess, connections: int) -> float:
    """Let a program run, and look at a window of its output: frames a second."""
    urls = [feed.url(f"flood/{FRAME_BYTES}/{number}") for number in range(connections)]
    with TemporaryDirectory() as name:
        out = Path(name) / "out.ndjson"
        async with _manager(Path(name), urls) if program == "manager" else references.running(program, *urls, out=out):
            await until(lambda: out.stat().st_size, f"{program} prints")
            await asyncio.sleep(WARM_UP_S)
            start, begin = time.monotonic(), out.stat().st_size
            await asyncio.sleep(WINDOW_S)
            end, seconds = out.stat().st_size, time.monotonic() - start
        with out.open("rb") as file:
            file.seek(begin)
            window = file.read(end - begin)
    return _counted(window) if program == "raw" else window.count(b"\n") / seconds


@asynccontextmanager
async def _manager(folder: Path, urls: Sequence[str]) -> AsyncIterator[None]:
    async with managing(folder) as manager:
        options = {"queueMaxMessages": QUEUED // len(urls)}
        commands = [{"id": f"c{n}", "url": url, "topic": "t", "options": options} for n, url in enumerate(urls)]
        await manager.accept("connect", *commands)
        yield


def _counted(window: bytes) -> float:
    """The rate between the first and the last whole line of times and counts."""
    lines = [line.split() for line in window.splitlines()[1:-1]]
    (start, first), (end, last) = lines[0], lines[-1]
    return (int(last) - int(first)) / (float(end) - float(start))


def _capacity(feed: FeedProcess, connections: int, seconds: float = 1) -> float:
    """How many frames a second the feed sends to readers that only take bytes."""
    with ExitStack() as stack:
        socks = [stack.enter_context(socket.create_connection(("127.0.0.1", feed.port))) for _ in range(connections)]
        for number, sock in enumerate(socks):
            sock.sendall(_HANDSHAKE.format(path=f"/flood/{FRAME_BYTES}/{number}").encode())
        taken, start = 0, time.monotonic()
        while (passed := time.monotonic() - start) < seconds:
            taken += sum(len(sock.recv(65536)) for sock in socks)
    return taken / len(frame(TEXT, b"x" * FRAME_BYTES)) / passed


def _cpu_s(feed: FeedProcess) -> float:
    times = psutil.Process(feed.process.pid).cpu_times()
    return times.user + times.system
