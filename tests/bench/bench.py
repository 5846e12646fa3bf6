"""Frames a second from socket to standard output, as ratios to the library alone and to a naive program, in one run.

All three read the same saturating feed, in turn, round after round; standard output is a file. Nothing is asserted:
the machine decides the figures, and only the ratios of one run mean something elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import psutil
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))

from tests.acceptance.feed import FeedProcess, feeding  # noqa: E402 - by the path above
from tests.acceptance.manager import managing  # noqa: E402
from tests.peers import TEXT, frame, until  # noqa: E402

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


@dataclass(frozen=True)
class Result:
    """One row. `ratio` is the median over rounds, each against the reference of the same round; `spread` its range."""

    name: str
    value: float
    unit: str
    reference: str | None
    ratio: float
    spread: tuple[float, float]


async def run() -> tuple[list[Result], dict[str, float]]:
    """Measure everything; also what the feed can send, and its load (1: a whole core) at the busiest."""
    rates: dict[tuple[str, int], list[float]] = {}
    with TemporaryDirectory() as folder:
        async with feeding(Path(folder)) as feed:
            capacity = min([await asyncio.to_thread(_capacity, feed, count) for count in CONNECTIONS])
            load = 0.0
            for _ in range(ROUNDS):
                for count in CONNECTIONS:
                    for program in PROGRAMS:
                        busy, start = _cpu_s(feed), time.monotonic()
                        rates.setdefault((program, count), []).append(await _rate(program, feed, count))
                        load = max(load, (_cpu_s(feed) - busy) / (time.monotonic() - start))
    results = []
    for count in CONNECTIONS:
        raw = rates["raw", count]
        results.append(_result("raw", None, count, raw, [value / median(raw) for value in raw]))
        for name, reference in PAIRS:
            values = rates[name, count]
            ratios = [value / other for value, other in zip(values, rates[reference, count], strict=True)]
            results.append(_result(name, reference, count, values, ratios))
    return results, {"feedCapacity": round(capacity), "feedLoad": round(load, 3)}


def _result(name: str, reference: str | None, count: int, values: list[float], ratios: list[float]) -> Result:
    spread = round(min(ratios), 3), round(max(ratios), 3)
    end = f"{count} connection{'s' if count > 1 else ''}"
    against = reference and f"{reference}, {end}"
    return Result(f"{name}, {end}", round(median(values)), "frames/s", against, round(median(ratios), 3), spread)


async def _rate(program: str, feed: FeedProcess, connections: int) -> float:
    """Let a program run, and look at a window of its output: frames a second."""
    urls = [feed.url(f"flood/{FRAME_BYTES}/{number}") for number in range(connections)]
    with TemporaryDirectory() as name:
        folder = Path(name)
        out = folder / "out.ndjson"
        async with _manager(folder, urls) if program == "manager" else _program(program, urls, out):
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
async def _program(name: str, urls: Sequence[str], out: Path) -> AsyncIterator[None]:
    with out.open("wb") as file:
        process = subprocess.Popen([sys.executable, str(HERE / f"{name}.py"), *urls], stdout=file)
    try:
        yield
    finally:
        process.kill()
        process.wait()


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


def _meta(about_feed: dict[str, float], began: datetime) -> dict[str, object]:
    return {
        "at": began.isoformat(timespec="seconds"),
        "tookS": round((datetime.now(UTC) - began).total_seconds()),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in ("websockets", "uvloop", "orjson", "websocket-manager")},
        "frameBytes": FRAME_BYTES,
        "rounds": ROUNDS,
        "windowS": WINDOW_S,
        "loadAverage": round(os.getloadavg()[0], 2),
        **about_feed,
    }


def _show(results: Sequence[Result], meta: dict[str, object]) -> None:
    table = Table("what", "frames/s", "ratio", "lowest to highest", title=f"{FRAME_BYTES}-byte frames to a file")
    for row in results:
        ratio = f"{row.ratio:.2f} of {row.reference.partition(',')[0]}" if row.reference else ""
        table.add_row(row.name, f"{row.value:,.0f}", ratio, f"{row.spread[0]:.2f} to {row.spread[1]:.2f}")
    console = Console()
    console.print(table)
    limit = max(row.value for row in results)
    capacity = float(str(meta["feedCapacity"]))
    console.print(
        f"The feed alone sends {capacity:,.0f} frames/s" + (": it is the limit." if capacity < 1.5 * limit else ".")
    )


def main() -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    path = parser.parse_args().json
    began = datetime.now(UTC)
    results, about_feed = asyncio.run(run())
    meta = _meta(about_feed, began)
    _show(results, meta)
    if path:
        path.write_text(json.dumps({"meta": meta, "results": [asdict(row) for row in results]}, indent=2) + "\n")


if __name__ == "__main__":
    main()
