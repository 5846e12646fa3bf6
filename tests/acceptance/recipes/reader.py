"""Somebody who follows a recipe: an empty folder, a shell, the commands as the page has them."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.acceptance.manager import environment
from tests.acceptance.recipes.page import Page
from tests.processes import free_ports, is_open

PATIENCE_S = 30.0


class Reader:
    """Runs what a page says. The manager's port is not that of the page, so that tests may run beside each other."""

    def __init__(self, page: Page, folder: Path, **env: str) -> None:
        self.page, self.folder = page, folder
        (self.port,) = free_ports(1)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self._env = environment() | {"PATH": path, "DAPR_HTTP_PORT": str(self.port), "WSM_OPS_PORT": "0", **env}
        self._running: list[Process] = []

    async def run(self, name: str) -> str:
        """Run commands to their end: they must succeed, and print what the page says. Returns what they print."""
        commands = self.page.commands(name)
        process = await self._spawn(commands.script, stdout=PIPE, stderr=PIPE)
        try:
            async with asyncio.timeout(PATIENCE_S):
                printed, complaints = (text.decode() for text in await process.communicate())
        except TimeoutError:
            raise AssertionError(f"{name} did not end within {PATIENCE_S:g} s: {self.log()}") from None
        assert process.returncode == 0, f"{name} ended with {process.returncode}: {printed}{complaints}{self.log()}"
        assert commands.prints in (None, printed), f"{name} printed {printed!r} {complaints}"
        return printed

    async def begin(self, name: str) -> None:
        """Run commands in another terminal; what they print is in the file NAME.out, complaints in NAME.err."""
        with self._file(name, "out").open("ab") as out, self._file(name, "err").open("ab") as err:
            await self._spawn(self.page.commands(name).script, stdout=out, stderr=err)

    async def begin_manager(self, name: str) -> None:
        """Run the manager in another terminal, and wait until it answers."""
        await self.begin(name)
        await self.until(lambda: is_open(self.port), "the manager starts")

    def lines(self, name: str) -> list[str]:
        """What commands in another terminal have printed, whole lines only."""
        return self._file(name, "out").read_text().split("\n")[:-1]

    def log(self) -> str:
        """The end of all complaints."""
        return "".join(f"\n{path.name}: {path.read_text()[-2000:]}" for path in sorted(self.folder.glob("*.err")))

    def told(self, name: str, kind: str) -> list[dict[str, Any]]:
        """The data of events of a kind among the lines."""
        events = [json.loads(line) for line in self.lines(name) if f'.{kind}"' in line]
        return [event["data"] for event in events if event["type"].endswith(f".{kind}")]

    async def until(self, is_so: Callable[[], bool], what: str, patience_s: float = PATIENCE_S) -> None:
        """Wait until something is so."""
        try:
            async with asyncio.timeout(patience_s):
                while not is_so():
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {patience_s:g} s: {what}{self.log()}") from None

    async def leave(self) -> None:
        """End all that was begun, the last one first."""
        for process in reversed(self._running):
            if process.returncode is None:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()

    async def _spawn(self, script: str, stdout: Any, stderr: Any) -> Process:
        script = script.replace("127.0.0.1:3500", f"127.0.0.1:{self.port}")
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", script),
            stdin=DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=self.folder,
            env=self._env,
            start_new_session=True,
        )
        self._running.append(process)
        return process

    def _file(self, name: str, suffix: str) -> Path:
        return self.folder / f"{name}.{suffix}"


@asynccontextmanager
async def following(page: Page, folder: Path, **env: str) -> AsyncIterator[Reader]:
    """Have the files of a page in a folder, and follow it; what was begun is ended."""
    page.write_files(folder)
    reader = Reader(page, folder, **env)
    try:
        yield reader
    finally:
        await reader.leave()
