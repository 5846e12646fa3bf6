"""The process of `wsm run`, in this process: its start, its end by signals, and what it says when it cannot start."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

import runtime.app
from runtime.adapters.embedded.lock import FolderLock
from runtime.app import Stop, failed_part, run_app, until_stopped
from runtime.cli.client import Client
from runtime.host.host import Host
from runtime.settings import EndpointSettings, Settings
from tests.wsm import CLEAN, Background, Quiet, wsm

pytestmark = pytest.mark.integration


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings from outside, and a stray signal fails a test instead of ending them all."""
    for name in CLEAN:
        monkeypatch.delenv(name)

    def stray(number: int, frame: object) -> None:
        raise AssertionError(f"signal {number} came when nobody listened to it")

    before = signal.signal(signal.SIGTERM, stray)
    yield
    signal.signal(signal.SIGTERM, before)


class LogOfProcess(io.StringIO):
    """Standard error of the process: calls back, on a thread, once the process says that it has started."""

    def __init__(self, then: Callable[[int], None]) -> None:
        super().__init__()
        self._then = then
        self.user: threading.Thread | None = None

    def write(self, text: str) -> int:
        if '"started"' in text and self.user is None:
            self.user = threading.Thread(target=self._then, args=(json.loads(text)["port"],))
            self.user.start()
        return super().write(text)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines()]


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, then: Callable[[int], None], **settings: Any):
    """Run the process, with a user who acts once it has started."""
    log = LogOfProcess(then)
    monkeypatch.setattr(sys, "stderr", log)
    wanted = {"data": folder, "port": 0, "instance_id": "me", "allow_private": True, "drain_deadline_s": 5, **settings}
    code = run_app(Settings(**wanted))
    if log.user is not None:
        log.user.join(10)
    return code, log.lines() if '"started"' in log.getvalue() else log.getvalue()


def terminate(port: int = 0) -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_sigterm_is_an_orderly_end_and_the_first_line_of_the_log_tells_all_about_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    code, lines = run(monkeypatch, tmp_path, terminate)
    assert code == 0
    assert [line["event"] for line in lines] == ["started", "stopping", "stopped"]
    assert {key: lines[0][key] for key in ("data", "instance", "sink")} == {
        "data": str(tmp_path),
        "instance": "me",
        "sink": "stdout",
    }
    assert lines[0]["port"] > 0
    assert lines[1]["signal"] == "SIGTERM"


def test_signals_have_their_usual_meaning_again_once_the_process_has_stopped(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    run(monkeypatch, tmp_path, terminate)
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_at_the_end_sockets_are_closed_with_1001_and_what_was_read_is_published(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    codes: list[int | None] = []

    async def peer(connection: ServerConnection) -> None:
        for number in range(100):
            await connection.send(str(number))
        await connection.wait_closed()
        codes.append(connection.close_code)

    @asynccontextmanager
    async def peers() -> AsyncIterator[str]:
        async with serve(peer, "127.0.0.1", 0) as server:
            yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"

    async def use(port: int, url: str) -> None:
        async with Client(EndpointSettings(port=port)) as client:
            await client.command("connect", id="a", url=url, topic="t")
            for _ in range(400):
                if (await client.read_one("connection", id="a"))["sequence"]:
                    break
                await asyncio.sleep(0.02)

    def then(port: int) -> None:
        try:
            asyncio.run(use(port, server.value))
        finally:
            terminate()

    with Background(peers()) as server:
        code, _ = run(monkeypatch, tmp_path, then)
    assert (code, codes) == (0, [1001])
    events = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    sequences = [event["data"]["sequence"] for event in events if event["topic"] == "t"]
    assert sequences
    assert sequences == list(range(1, len(sequences) + 1))


def test_a_misspelt_variable_is_a_warning_that_names_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("WSM_MAX_CONECTIONS", "s3cret")
    _, lines = run(monkeypatch, tmp_path, terminate)
    assert (lines[0]["event"], lines[0]["level"]) == ("unknown_variable", "warning")
    assert (lines[0]["name"], lines[0]["meant"]) == ("WSM_MAX_CONECTIONS", "WSM_MAX_CONNECTIONS")
    assert "s3cret" not in str(lines)


def test_secrets_are_not_logged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    _, lines = run(
        monkeypatch, tmp_path, terminate, api_token="s3cret", sink="http://me:s3cret@127.0.0.1:1/?token=s3cret"
    )
    assert lines[0]["event"] == "started"
    assert "s3cret" not in str(lines)


def test_a_part_that_fails_ends_the_process_with_1_and_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async def fail(self: Host) -> None:
        await asyncio.sleep(0.2)
        raise RuntimeError("wedged")

    monkeypatch.setattr(Host, "run", fail)
    code, lines = run(monkeypatch, tmp_path, lambda port: None)
    assert code == 1
    (failed,) = (line for line in lines if line["event"] == "failed")
    assert "fail" in failed["part"]
    assert failed["error"] == "RuntimeError('wedged')"
    assert "Traceback" in failed["traceback"]
    assert lines[-1]["event"] == "stopped"


def test_a_start_on_a_taken_port_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
        code, told = run(monkeypatch, tmp_path, terminate, port=port)
    assert code == 1
    assert told.startswith(f"error: port {port} is taken by ")
    assert told.count("\n") == 1


def _locked(folder: Path) -> FolderLock:
    return FolderLock(folder)


def _garbage(folder: Path) -> None:
    (folder / "state.db").write_bytes(b"no database at all" * 100)


def _a_folder_in_its_place(folder: Path) -> None:
    (folder / "state.db").mkdir()


def _a_file_in_its_place(folder: Path) -> None:
    folder.rmdir()
    folder.write_text("")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_locked, "is in use by another manager"),
        (_garbage, "is not a state file of this project"),
        (_a_folder_in_its_place, "state.db"),
        (_a_file_in_its_place, "cannot be used"),
    ],
)
def test_a_folder_that_cannot_be_used_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spoil: Callable[[Path], Any], said: str
):
    folder = tmp_path / "data"
    folder.mkdir()
    lock = spoil(folder)
    code, told = run(monkeypatch, folder, terminate)
    if lock is not None:
        lock.release()
    assert code == 1
    assert told.startswith("error: ")
    assert said in told
    assert told.count("\n") == 1


def test_the_command_ends_with_the_code_of_the_process(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runtime.app, "run_app", lambda settings: 1)
    assert wsm("run", "--port", "0").code == 1


async def test_a_second_signal_ends_at_once():
    left: list[int] = []
    stop = Stop(Quiet(), left.append)
    stop.on_signal(signal.SIGTERM)
    assert stop.asked.is_set()
    assert left == []
    stop.on_signal(signal.SIGTERM)
    assert left == [128 + signal.SIGTERM]


async def test_the_wait_ends_with_the_signal_or_with_what_failed():
    async def fail() -> None:
        await asyncio.sleep(0.05)
        raise RuntimeError("late")

    asked = asyncio.Event()
    error = await until_stopped(asked, asyncio.create_task(fail()))
    assert repr(error) == "RuntimeError('late')"
    assert error is not None
    assert failed_part(error).endswith("fail")
    background = asyncio.create_task(asyncio.Event().wait())
    asked.set()
    assert await until_stopped(asked, background) is None  # type: ignore[arg-type]
    background.cancel()


def test_an_error_without_a_traceback_has_no_part():
    assert failed_part(RuntimeError()) == "unknown"
