"""Processes in the background, known by their pid files and never taken for another one."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from deploy.local.plan import ROOT, Part

CLOCK_STEP_S = 2
TAIL_LINES = 25


def start(part: Part, folder: Path, environ: dict[str, str]) -> int:
    """Start a part that outlives us, with a new log; its pid, once it is on file."""
    with (folder / f"{part.name}.log").open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  the plan is ours
            part.command,
            cwd=ROOT,
            env={**environ, **part.env},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C in this terminal is not for it
        )
    pid_file(folder, part.name).write_text(f"{process.pid}\n")
    process.returncode = 0  # it is not ours to wait for
    return process.pid


def pid_file(folder: Path, name: str) -> Path:
    """Where the pid of a part is."""
    return folder / f"{name}.pid"


def running(folder: Path, name: str) -> psutil.Process | None:
    """The process of a pid file. A pid that another process has got since was taken after the file was written."""
    path = pid_file(folder, name)
    try:
        process = psutil.Process(int(path.read_text()))
        is_ours = process.create_time() <= path.stat().st_mtime + CLOCK_STEP_S
        return process if is_ours and process.status() != psutil.STATUS_ZOMBIE else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


def end(folder: Path, names: Sequence[str], patience_s: float) -> list[str]:
    """End parts by SIGTERM and wait, then by SIGKILL; which ones needed that. Their pid files are gone afterwards."""
    found = {name: process for name in names if (process := running(folder, name))}
    for process in found.values():
        with suppress(psutil.NoSuchProcess):
            process.terminate()
            process.send_signal(signal.SIGCONT)  # or one that is paused would never hear of it
    _, stubborn = psutil.wait_procs(list(found.values()), timeout=patience_s)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(stubborn, timeout=patience_s)
    for name in names:
        pid_file(folder, name).unlink(missing_ok=True)
    return [name for name, process in found.items() if process in stubborn]


def tail(folder: Path, name: str) -> str:
    """The end of a log."""
    path = folder / f"{name}.log"
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return "\n".join(lines[-TAIL_LINES:])
