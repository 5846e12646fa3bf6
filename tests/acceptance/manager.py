"""Starts, kills and asks the real manager process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import aiohttp

WSM = [sys.executable, "-c", "from runtime.cli import main; main()"]


class ManagerProcess:
    def __init__(self, folder: Path, *args: str) -> None:
        self.folder, self.args = folder, args
        self.out = folder / "out.ndjson"
        self.log = folder / "log.ndjson"
        self.port = 0

    async def start(self) -> None:
        before = self.log.stat().st_size if self.log.exists() else 0
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("WSM_", "DAPR_", "K_SINK"))}
        with self.out.open("ab") as out, self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *WSM,
                    "run",
                    "--data",
                    str(self.folder / "data"),
                    "--port",
                    "0",
                    "--allow-private",
                    *self.args,
                ],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
                env=environment,
            )
        for _ in range(200):
            for line in self.log.read_bytes()[before:].splitlines():
                if b'"started"' in line:
                    self.port = json.loads(line)["port"]
                    return
            if self.process.poll() is not None:
                break
            await asyncio.sleep(0.05)
        raise AssertionError(f"the manager did not start: {self.log.read_text()}")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(timeout=20)

    async def ask(self, method: str, **body: object):
        url = f"http://127.0.0.1:{self.port}/v1.0/invoke/websocket-handlers/method/{method}"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
            return await answer.json()

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

    async def until(self, true, patience_s: float = 10) -> None:
        for _ in range(int(patience_s / 0.05)):
            if true():
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"did not happen within {patience_s} s")
