"""Real programs for tests: started on free ports, waited for with bounded patience, killed, paused, gone at the end."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

TAIL_LINES = 40
BELOW_EPHEMERAL = range(12_000, 31_000)
"""Ports that no outgoing connection takes while a program is down and about to come back."""


def find_program(name: str, how: str, *folders: str) -> str:
    """The path of a program, on PATH or in other folders; a missing one fails with how to get it."""
    path = shutil.which(name) or shutil.which(name, path=os.pathsep.join(folders))
    assert path is not None, f"{name} is missing: {how}"
    return path


def wait_until(holds: Callable[[], object], what: str, patience_s: float = 20) -> None:
    """Ask again and again, where there is no loop."""
    deadline = time.monotonic() + patience_s
    while not holds():
        assert time.monotonic() < deadline, f"not within {patience_s:g} s: {what}"
        time.sleep(0.05)


@contextmanager
def none_left() -> Iterator[None]:
    """Of what this process starts in the block nothing is left after it; programs from before may have helpers."""
    before = set(psutil.Process().children(recursive=True))
    yield
    left = set(psutil.Process().children(recursive=True)) - before
    assert not [child for child in left if not _is_helper(child, before)], left


def _is_helper(process: psutil.Process, programs: set[psutil.Process]) -> bool:
    """Whether one of these has started it, or it has just ended."""
    try:
        return bool(programs.intersection(process.parents()))
    except psutil.NoSuchProcess:
        return True


_given: set[int] = set()


def free_ports(count: int) -> list[int]:
    """Different ports on which nothing listens, and which nobody else in this process was given."""
    ports: set[int] = set()
    for port in random.sample(BELOW_EPHEMERAL, 1_000):
        if len(ports) == count:
            break
        if port in _given:
            continue
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            ports.add(port)
    assert len(ports) == count, "no free ports"
    _given.update(ports)
    return list(ports)


def is_open(port: int) -> bool:
    """Whether something listens on a port of the loopback interface."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


class Process:
    """A program with its log in a file. `env` is all that it gets besides PATH and HOME."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        folder: Path,
        is_ready: Callable[[], bool],
        *,
        env: Mapping[str, str] | None = None,
        patience_s: float = 60,
    ) -> None:
        self.name, self.command, self.patience_s = name, list(command), patience_s
        self.log = folder / f"{name}.log"
        self.is_ready = is_ready
        self.env = {key: os.environ[key] for key in ("PATH", "HOME") if key in os.environ} | dict(env or {})
        self._process: subprocess.Popen[bytes] | None = None

    def spawn(self) -> None:
        """Start, without waiting."""
        assert not self.is_alive, f"{self.name} runs already"
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=self.env
            )

    def start(self) -> None:
        """Start, and wait until it is ready."""
        self.spawn()
        self.wait_ready()

    def wait_ready(self) -> None:
        """Wait until it is ready; fails with the tail of its log when it ends or takes too long."""
        deadline = time.monotonic() + self.patience_s
        while not self.is_ready():
            assert self.is_alive, f"{self.name} ended with {self.exit_code}:\n{self.tail()}"
            assert time.monotonic() < deadline, f"{self.name} is not ready after {self.patience_s} s:\n{self.tail()}"
            time.sleep(0.02)

    @property
    def pid(self) -> int:
        """Of the program that was started last."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs, or is paused."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended; None while it runs."""
        return None if self._process is None else self._process.poll()

    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-TAIL_LINES:]) if self.log.exists() else ""

    def send(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None, f"{self.name} was not started"
        self._process.send_signal(number)

    def pause(self) -> None:
        """SIGSTOP: it holds its connections and answers nothing."""
        self.send(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self.send(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, paused or not; harmless when it is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def stop(self, number: int = signal.SIGTERM, patience_s: float = 30) -> int:
        """End it in order; its exit code."""
        self.send(number)
        return self.wait_ended(patience_s)

    def wait_ended(self, patience_s: float = 30) -> int:
        """Its exit code, once it has ended. Fails, and kills it, when it does not end in time."""
        assert self._process is not None, f"{self.name} was not started"
        try:
            return self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not end within {patience_s} s:\n{self.tail()}") from None

    def restart(self) -> None:
        """Kill it if it still runs, and start it again on the same ports."""
        self.kill()
        self.start()
