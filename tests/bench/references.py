"""Runs the programs to which the manager is compared, each in a process of its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE_S = 120


@asynccontextmanager
async def running(name: str, *args: str, out: Path, **env: str) -> AsyncIterator[int]:
    """One that goes on until the end of the block, with its output in a file; the id of its process."""
    with out.open("wb") as file:
        process = subprocess.Popen(_command(name, *args), stdout=file, cwd=ROOT, env={**os.environ, **env})
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


async def output_of(name: str, *args: str) -> list[float]:
    """What one prints that ends by itself: a number in each line."""
    out = await asyncio.to_thread(subprocess.check_output, _command(name, *args), timeout=PATIENCE_S, cwd=ROOT)
    return [float(line) for line in out.split()]


def _command(name: str, *args: str) -> list[str]:
    return [sys.executable, "-m", f"tests.bench.{name}", *args]
