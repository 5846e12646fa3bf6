"""Frames a second from socket to standard output, as ratios to the library alone and to a naive program.

All three read the same flooding feed, in turns, round after round; standard output is a file. Each is started once and
stopped by a signal outside its turns.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

from tests.acceptance.feed import FeedProcess
from tests.acceptance.manager import managing
from tests.bench.paced_feed import PacedFeedProcess, pacing_feed
from tests.bench.references import running
from tests.bench.staged import QUEUED
from tests.bench.table import Group, Result, against, alone
from tests.bench.turns import Counter, Lines, Program, Rate, Told, cpu_s
from tests.peers import TEXT, frame

FRAME_BYTES = 200
CONNECTIONS = (1, 100)
RAW, NAIVE, MANAGER = "raw", "naive", "manager"
PAIRS = ((NAIVE, RAW), (MANAGER, RAW), (MANAGER, NAIVE))
ROUNDS = 5
TOLD_EVERY = 1000
STAYING = ("--lease-s", "3600", "--loop-stall-limit-s", "3600", "--no-ops")  # it is stopped between its turns
_HANDSHAKE = (
    "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


async def measure(folder: Path, rounds: int = ROUNDS, *times_s: float) -> Group:
    """The rows; also what the feed can send, and its load (1: a whole core) at the busiest. `times_s`: of a turn."""
    rates: dict[tuple[str, int], list[Rate]] = defaultdict(list)
    async with pacing_feed(folder) as feed, AsyncExitStack() as stack:
        capacity = min([await asyncio.to_thread(_capacity, feed, count) for count in CONNECTIONS])
        programs = {
            (name, count): await _started(stack, folder, feed, name, count)
            for count in CONNECTIONS
            for name in (RAW, NAIVE, MANAGER)
        }
        load = 0.0
        for _ in range(rounds):
            for key, program in programs.items():
                busy, start = cpu_s(feed.process.pid), time.monotonic()
                rates[key].append(await program.rate(*times_s))
                load = max(load, (cpu_s(feed.process.pid) - busy) / (time.monotonic() - start))
    rows = _rows(rates)
    is_limit = capacity < 1.5 * max(row.value for row in rows)
    return Group(
        f"{FRAME_BYTES}-byte frames to a file",
        rows,
        {
            "frameBytes": FRAME_BYTES,
            "rounds": rounds,
            "feedCapacity": round(capacity),
            "feedLoad": round(load, 3),
        },
        f"The feed alone sends {capacity:,.0f} frames/s" + (": it is the limit." if is_limit else "."),
    )


def _rows(rates: Mapping[tuple[str, int], Sequence[Rate]]) -> list[Result]:
    per_s = {key: [rate.per_s for rate in each] for key, each in rates.items()}
    cpu_us = {key: [rate.cpu_us for rate in each] for key, each in rates.items()}
    rows = []
    for count in CONNECTIONS:
        end = f"{count} connection{'s' if count > 1 else ''}"
        rows.append(alone(f"{RAW}, {end}", "frames/s", per_s[RAW, count]))
        for name, reference in PAIRS:
            others = per_s[reference, count]
            rows.append(against(f"{name}, {end}", "frames/s", per_s[name, count], f"{reference}, {end}", others))
        end = f"CPU per frame, {end}"
        rows.append(alone(f"{RAW}, {end}", "µs", cpu_us[RAW, count]))
        rows.append(against(f"{MANAGER}, {end}", "µs", cpu_us[MANAGER, count], f"{RAW}, {end}", cpu_us[RAW, count]))
    return rows


async def _started(stack: AsyncExitStack, folder: Path, feed: PacedFeedProcess, name: str, count: int) -> Program:
    """A program that is connected and stopped; it ends with the stack."""
    (own := folder / f"{name}-{count}").mkdir()
    out = own / "out.ndjson"
    urls = feed.gated(own.name, FRAME_BYTES, count)
    counter: Counter = Told(out) if name == RAW else Lines(out)
    if name == MANAGER:
        manager = await stack.enter_async_context(managing(own, *STAYING))
        options = {"queueMaxMessages": QUEUED // count, "pingIntervalS": 0}
        commands = [{"id": f"c{n}", "url": url, "topic": "t", "options": options} for n, url in enumerate(urls)]
        await manager.accept("connect", *commands)
        pid = manager.process.pid
    else:
        args = [str(TOLD_EVERY), *urls] if name == RAW else urls
        pid = await stack.enter_async_context(running(name, *args, out=out))
    await feed.open(own.name, count)
    return await Program(pid, counter).ready()


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
