"""Starts, kills and asks the real manager process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import psutil

WSM = [sys.executable, "-c", "from runtime.cli import main; main()"]
CALLS_AT_ONCE = 16


def environment() -> dict[str, str]:
    """That of this process, without what would steer a manager."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("WSM_", "DAPR_", "K_SINK", "K_CE_"))}


class ManagerProcess:
    """A manager on a data folder, with its output in a file, or in a pipe that nobody reads until the test does."""

    def __init__(self, folder: Path, *args: str, piped: bool = False, env: Mapping[str, str] | None = None) -> None:
        self.folder, self.args, self.piped, self.env = folder, args, piped, dict(env or {})
        self.out = folder / "out.ndjson"
        self.log = folder / "log.ndjson"
        self.port = 0

    def command(self, *args: str) -> list[str]:
        """The command line of a manager on this folder; later options win."""
        return [*WSM, "run", "--data", str(self.folder / "data"), "--port", "0", "--allow-private", *self.args, *args]

    async def start(self) -> None:
        before = self.log.stat().st_size if self.log.exists() else 0
        with self.out.open("ab") as out, self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if self.piped else out,
                stderr=log,
                env=environment() | self.env,
            )
        for _ in range(400):
            for line in self.log.read_bytes()[before:].splitlines():
                if b'"started"' in line:
                    self.port = json.loads(line)["port"]
                    return
            if self.process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise AssertionError(f"the manager did not start: {self.log.read_text()}")

    @property
    def pipe(self) -> int:
        """The reading end of its output."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    @property
    def rss(self) -> int:
        """The memory that it holds now, in bytes."""
        return psutil.Process(self.process.pid).memory_info().rss

    async def restart(self) -> None:
        """Start again after the end; what is left in a pipe is gone."""
        if self.process.stdout is not None:
            self.process.stdout.close()
        await self.start()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    async def stopped(self, patience_s: float = 30) -> int:
        """Its exit code, once it has ended by itself."""
        return await asyncio.to_thread(self.process.wait, patience_s)

    async def ask(self, method: str, **body: object):
        (answer,) = await self.ask_all(method, [body])
        return answer

    async def ask_all(self, method: str, bodies: Iterable[dict[str, Any]]) -> list[Any]:
        """Call once for each body, several at a time; the answers in the order of the bodies."""
        url = f"http://127.0.0.1:{self.port}/v1.0/invoke/websocket-handlers/method/{method}"
        slots = asyncio.Semaphore(CALLS_AT_ONCE)

        async def call(session: aiohttp.ClientSession, body: dict[str, Any]) -> Any:
            async with slots, session.post(url, json=body) as answer:
                return await answer.json()

        async with aiohttp.ClientSession(trust_env=False) as session, asyncio.TaskGroup() as group:
            calls = [group.create_task(call(session, body)) for body in bodies]
        return [task.result() for task in calls]

    async def accept(self, method: str, *bodies: dict[str, Any]) -> None:
        """Give commands that must be accepted."""
        refused = [answer for answer in await self.ask_all(method, bodies) if answer.get("status") != "accepted"]
        assert not refused, refused[:5]

    def events(self) -> list[dict]:
        lines = self.out.read_bytes().split(b"\n")[:-1]
        found = []
        for line in lines:
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                assert line  # a line torn by SIGKILL
        return found

    def data(self, kind: str) -> list[dict]:
        return [event["data"] for event in self.events() if event["type"].endswith(f".{kind}")]

    def logged(self, event: str) -> list[dict]:
        """What it has logged under a name."""
        lines = [json.loads(line) for line in self.log.read_bytes().splitlines() if line.startswith(b"{")]
        return [line for line in lines if line["event"] == event]

    async def until(self, true, patience_s: float = 10) -> None:
        for _ in range(int(patience_s / 0.05)):
            if true():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"did not happen within {patience_s} s")


@asynccontextmanager
async def managing(
    folder: Path, *args: str, piped: bool = False, env: Mapping[str, str] | None = None
) -> AsyncIterator[ManagerProcess]:
    """Run a manager; it is gone at the end."""
    manager = ManagerProcess(folder, *args, piped=piped, env=env)
    await manager.start()
    try:
        yield manager
    finally:
        manager.kill()
