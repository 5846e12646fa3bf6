"""Standard output: a reader that is stuck, slow or gone, and a disk that is full."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from runtime.adapters.embedded.stdout_sink import StdoutSink
from runtime.embedded import start_embedded
from runtime.errors import PermanentError, PublishError
from runtime.feed import local_feed
from runtime.settings import Settings
from tests.embedded import Observed
from tests.peers import until
from tests.sinks import event, line_to

pytestmark = pytest.mark.integration


class Pipe:
    """A pipe of 64 KiB. `read_all` reads, in a thread, until the other end is closed."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.content = b""

    def read(self, size: int) -> bytes:
        found = os.read(self.reader, size)
        self.content += found
        return found

    def read_on(self, pause_s: float = 0) -> threading.Thread:
        def work() -> None:
            while self.read(1000 if pause_s else 65536):
                if pause_s:
                    threading.Event().wait(pause_s)

        thread = threading.Thread(target=work)
        thread.start()
        return thread

    def close(self) -> None:
        for fd in (self.reader, self.writer):
            with contextlib.suppress(OSError):
                os.close(fd)


@pytest.fixture
def pipe():
    found = Pipe()
    yield found
    found.close()


def document(number: int, size: int = 500) -> bytes:
    return json.dumps({"n": number, "x": "x" * size}).encode()


def numbers(content: bytes) -> list[int]:
    """Fails if a line is torn."""
    assert content == b"" or content.endswith(b"\n")
    return [json.loads(line)["n"] for line in content.splitlines()]


async def write(sink: StdoutSink, *documents: bytes) -> None:
    await sink.write([event(number) for number in range(len(documents))], documents)


async def test_a_stuck_reader_holds_neither_the_event_loop_nor_a_line_back_for_good(pipe: Pipe):
    sink = StdoutSink(pipe.writer)
    writing = asyncio.create_task(write(sink, *(document(number) for number in range(1000))))
    ticks = 0
    for _ in range(20):
        await asyncio.sleep(0.005)
        ticks += 1
    assert ticks == 20
    assert not writing.done()  # 500 kB do not fit: this pushes back on whoever publishes
    reading = pipe.read_on()
    await writing
    await sink.close()
    os.close(pipe.writer)
    await asyncio.to_thread(reading.join)
    assert numbers(pipe.content) == list(range(1000))


async def test_a_cancelled_call_is_written_all_the_same_and_before_the_next(pipe: Pipe):
    sink = StdoutSink(pipe.writer)
    first = asyncio.create_task(write(sink, *(document(number) for number in range(500))))
    await asyncio.sleep(0.01)
    first.cancel()
    await asyncio.wait({first})
    second = asyncio.create_task(write(sink, document(500)))
    reading = pipe.read_on()
    await second
    await sink.close()
    os.close(pipe.writer)
    await asyncio.to_thread(reading.join)
    assert numbers(pipe.content) == list(range(501))


async def test_a_process_that_ends_while_its_reader_is_stuck_tears_no_line(pipe: Pipe):
    sink = StdoutSink(pipe.writer)
    writing = asyncio.create_task(write(sink, *(document(number, size=3 * number) for number in range(1000))))
    await asyncio.sleep(0.1)
    os.set_blocking(pipe.reader, False)  # what a process that dies now has left behind
    held = b""
    with contextlib.suppress(BlockingIOError):
        held = os.read(pipe.reader, fcntl.fcntl(pipe.writer, fcntl.F_GETPIPE_SZ))
    found = numbers(held)
    assert found == list(range(len(found)))
    os.close(pipe.reader)
    with pytest.raises(PermanentError):
        await writing
    await sink.close()


async def test_a_pipe_that_its_reader_has_made_non_blocking_loses_and_tears_nothing(pipe: Pipe):
    os.set_blocking(pipe.writer, False)
    sink = StdoutSink(pipe.writer)
    writing = asyncio.create_task(write(sink, *(document(number, size=9000) for number in range(60))))
    reading = pipe.read_on(pause_s=0.0005)
    await writing
    await sink.close()
    os.close(pipe.writer)
    await asyncio.to_thread(reading.join)
    assert numbers(pipe.content) == list(range(60))


async def test_a_full_disk_may_pass_and_is_tried_again(tmp_path: Path):
    full = os.open("/dev/full", os.O_WRONLY)
    sink = StdoutSink(full)
    try:
        async with line_to(sink, tmp_path) as line:
            line.push("one", "two")
            await until(lambda: len(line.clock.slept) > 3, "retries")
            reason = line.observed.warnings[0][1]["reason"]
            assert reason == "standard output cannot be written: No space left on device"
            with (tmp_path / "out").open("wb") as file:
                os.dup2(file.fileno(), full)
            await line.until_empty()
    finally:
        os.close(full)
    lines = (tmp_path / "out").read_bytes().splitlines()
    assert [json.loads(line)["id"] for line in lines] == ["a.7.1", "a.7.2"]


async def test_a_line_that_a_full_disk_has_cut_is_completed_before_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The event of that line comes once more, with the same id."""
    out = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    real, failures = os.write, [700, 0, 3, None]

    def write_until_full(fd: int, data: Any) -> int:
        room = failures.pop(0) if fd == out and failures else None
        if room is None:
            return real(fd, data)
        if room:
            failures.insert(0, 0)
            return real(fd, data[:room])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", write_until_full)
    sink = StdoutSink(out)
    try:
        with pytest.raises(PublishError) as failed:
            await write(sink, *(document(number) for number in range(4)))
        assert failed.value.published == 1
        for published in (0, 0):
            with pytest.raises(PublishError) as failed:
                await write(sink, *(document(number) for number in range(1, 4)))
            assert failed.value.published == published
        await write(sink, *(document(number) for number in range(1, 4)))
    finally:
        await sink.close()
        os.close(out)
    assert numbers((tmp_path / "out").read_bytes()) == [0, 1, 1, 2, 3]


async def test_a_reader_that_has_gone_ends_the_manager_in_order_and_soon(tmp_path: Path, pipe: Pipe):
    observed = Observed()
    settings = Settings(data=tmp_path, port=0, allow_private=True, drain_deadline_s=60)
    async with local_feed(0.01) as feed:
        started = asyncio.get_running_loop().time()
        async with start_embedded(settings, observed, StdoutSink(pipe.writer)) as manager:
            command = {"id": "a", "url": feed.url, "topic": "t", "autoReconnect": True}
            await manager.dispatch.invoke("connect", json.dumps(command).encode())
            await asyncio.to_thread(pipe.read, 4096)
            os.close(pipe.reader)
            await asyncio.wait({manager.background}, timeout=20)
            error = manager.background.exception()
            assert isinstance(error, PermanentError)
            assert "closed by its reader" in str(error)
        assert asyncio.get_running_loop().time() - started < 30  # not the minute of the deadline
        server = feed.server
        assert server is not None
        await until(lambda: not server.connections, "the socket is closed")
    async with start_embedded(settings, observed, StdoutSink(pipe.writer)) as manager:
        record = json.loads(await manager.dispatch.invoke("connection", b'{"id": "a"}'))
        assert record["lastError"] in {"the manager was stopped", None}


def start_wsm(folder: Path, **how: Any) -> subprocess.Popen[bytes]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("WSM_", "DAPR_", "K_SINK"))}
    command = [
        sys.executable,
        "-c",
        "from runtime.cli import main; main()",
        "run",
        "--port",
        "0",
        "--data",
        str(folder),
    ]
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2], **how)


def test_wsm_run_without_a_standard_output_says_so_instead_of_writing_into_another_file(tmp_path: Path):
    process = start_wsm(tmp_path, preexec_fn=lambda: os.close(1))
    _, log = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"standard output is closed: send it somewhere" in log
    assert (tmp_path / "lock").read_bytes().isdigit()


async def test_wsm_run_ends_with_1_and_says_why_when_its_reader_has_left(tmp_path: Path, pipe: Pipe):
    process = start_wsm(tmp_path, stdout=pipe.writer)
    try:
        os.close(pipe.reader)
        assert process.stderr is not None
        log = b""
        while b'"started"' not in log:
            line = await asyncio.to_thread(process.stderr.readline)
            assert line, log
            log += line
        port = json.loads(log.splitlines()[-1])["port"]
        url = f"http://127.0.0.1:{port}/v1.0/invoke/websocket-handlers/method/disconnect"
        async with aiohttp.ClientSession() as session, session.post(url, data=b'{"id": "nobody"}') as answer:
            assert answer.status == 200
        _, rest = await asyncio.to_thread(process.communicate, timeout=60)
        assert process.returncode == 1
        assert b"standard output was closed by its reader" in rest
    finally:
        process.kill()
        process.communicate()
