"""`make up` and `make down`: real brokers and sidecars, and a stand-in for the apps behind them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deploy.local.background import end, pid_file, running
from deploy.local.plan import ROOT
from runtime.feed import local_feed
from runtime.ports import Names
from tests.processes import free_ports, is_open, wait_until
from tests.sidecar import DIRECT
from tests.wsm import Background, wsm

pytestmark = pytest.mark.integration

STAND_IN = """
import json, os, sys
from dapr.ext.grpc import App
print(json.dumps({"argv": sys.argv[1:], "env": dict(os.environ)}), flush=True)
app = App()
app.register_health_check(lambda: None)
app.run(int(os.environ["APP_PORT"]))
"""
PARTS = ["redis", "mosquitto", "handlers.daprd", "handlers", "host-1.daprd", "host-1", "host-2.daprd", "host-2"]


class Stack:
    """Runs the scripts on a folder and a block of ports of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.base = folder / "run", free_block(30)
        self.stand_in = folder / "stand_in.py"
        self.stand_in.write_text(STAND_IN)

    def up_for_real(self, **env: str) -> subprocess.CompletedProcess[str]:
        """What `make up` runs, with the manager itself."""
        return self._run(["-m", "deploy.local.up", "--folder", str(self.folder)], env)

    def up(self, *args: str, **env: str) -> subprocess.CompletedProcess[str]:
        arguments = ["--folder", str(self.folder), *args]
        code = f"from deploy.local.up import main; raise SystemExit(main({arguments!r}, {self._wsm!r}))"
        return self._run(["-c", code], env)

    def down(self) -> subprocess.CompletedProcess[str]:
        return self._run(["-m", "deploy.local.down", "--folder", str(self.folder)], {})

    def pids(self) -> dict[str, int]:
        return {path.stem: int(path.read_text()) for path in self.folder.glob("*.pid")}

    def told(self, name: str) -> Any:
        """What a stand-in was started with."""
        return json.loads((self.folder / f"{name}.log").read_text().splitlines()[0])

    @property
    def _wsm(self) -> list[str]:
        return [sys.executable, str(self.stand_in)]

    def _run(self, arguments: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("WSM_", "DAPR_", "HOSTS"))}
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env={**clean, "DAPR_HTTP_PORT": str(self.base), **env},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )


def free_block(count: int) -> int:
    """The first of so many ports in a row that are free."""
    for first in free_ports(200):
        if not any(is_open(port) for port in range(first, first + count)):
            return first
    raise AssertionError("no free block of ports")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Stack]:
    stack = Stack(tmp_path)
    try:
        yield stack
    finally:
        stack.down()


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """A process of somebody else, which ignores SIGTERM."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def metadata(port: int) -> Any:
    with DIRECT.open(f"http://127.0.0.1:{port}/v1.0/metadata", timeout=10) as answer:
        return json.load(answer)


def test_up_runs_all_and_again_what_is_missing_and_down_leaves_nothing(stack: Stack) -> None:
    first = stack.up("--hosts", "2", WSM_MAX_CONNECTIONS="7")
    assert first.returncode == 0, first.stderr
    pids = stack.pids()
    assert sorted(pids) == sorted(PARTS)
    for name, pid in pids.items():
        assert psutil.pid_exists(pid)
        assert any(line.split()[:2] == [name, str(pid)] for line in first.stdout.splitlines()), first.stdout
    assert metadata(stack.base)["id"] == Names().handlers_app_id
    assert metadata(stack.base + 20)["id"] == Names().host_app_id
    told = stack.told("host-2")
    assert told["argv"] == ["run", "--profile", "dapr", "--mode", "host"]
    assert told["env"]["WSM_INSTANCE_ID"] == "host-2"
    assert told["env"]["WSM_MAX_CONNECTIONS"] == "7"
    assert told["env"]["DAPR_HTTP_PORT"] == str(stack.base + 20)

    os.kill(pids["host-1"], signal.SIGKILL)
    wait_until(lambda: running(stack.folder, "host-1") is None, "the host has ended")
    second = stack.up("--hosts", "2")
    assert second.returncode == 0, second.stderr
    assert second.stdout.count("ran already") == len(PARTS) - 1
    again = stack.pids()
    assert {name for name in PARTS if again[name] != pids[name]} == {"host-1"}

    os.kill(again["host-2"], signal.SIGSTOP)  # one that would never hear of SIGTERM
    ended = stack.down()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert stack.pids() == {}
    assert not [pid for pid in again.values() if psutil.pid_exists(pid)]
    left = {path.name for path in stack.folder.iterdir()}
    assert left == {f"{name}.log" for name in PARTS} | {"secrets.json", "daprd.yaml", "sidecar.json"}
    assert "nothing was running" in stack.down().stdout


def test_a_connection_is_made_through_what_up_has_started(stack: Stack) -> None:
    up = stack.up_for_real(WSM_ALLOW_PRIVATE="true")
    assert up.returncode == 0, up.stderr
    with Background(local_feed(0.05)) as feed:
        connected = wsm("connect", feed.value.url, "--id", "prices", "--topic", "prices", "--wait", port=stack.base)
        assert connected.code == 0, connected.stderr + (stack.folder / "host-1.log").read_text()
        (shown,) = wsm("list", "--json", port=stack.base).lines()
        assert (shown["status"], shown["instanceId"]) == ("Connected", "host-1")
        down = stack.down()
    assert (down.returncode, down.stderr) == (0, "")


def test_a_pid_that_another_process_has_got_since_is_left_alone(
    stack: Stack, bystander: subprocess.Popen[bytes]
) -> None:
    stack.folder.mkdir()
    path = pid_file(stack.folder, "host-1")
    path.write_text(f"{bystander.pid}\n")
    os.utime(path, (0, time.time() - 3600))
    assert stack.down().returncode == 0
    assert bystander.poll() is None
    assert not path.exists()


def test_what_does_not_end_in_time_is_killed_and_named(tmp_path: Path, bystander: subprocess.Popen[bytes]) -> None:
    pid_file(tmp_path, "host-1").write_text(f"{bystander.pid}\n")
    assert end(tmp_path, ["host-1"], patience_s=0.2) == ["host-1"]
    assert not psutil.pid_exists(bystander.pid)
    assert not pid_file(tmp_path, "host-1").exists()


def test_up_says_which_port_is_taken_and_starts_nothing(stack: Stack) -> None:
    busy = stack.base + 8
    code = f"import socket; s = socket.create_server(('127.0.0.1', {busy})); print(flush=True); s.accept()[0].recv(1)"
    with subprocess.Popen([sys.executable, "-c", f"{code}; input()"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        result = stack.up()
        process.kill()
    assert result.returncode == 1
    assert f"port {busy} is taken, so redis cannot have it" in result.stderr
    assert stack.pids() == {}


def test_up_shows_why_an_app_ended(stack: Stack) -> None:
    stack.stand_in.write_text("raise SystemExit('the key prefix is wrong')")
    result = stack.up()
    assert result.returncode == 1
    assert "the key prefix is wrong" in result.stderr
    assert "handlers ended" in result.stderr
    assert "make down" in result.stderr


def test_up_says_how_to_get_a_sidecar(stack: Stack) -> None:
    result = stack.up(XDG_CACHE_HOME=str(stack.folder), PATH="/usr/bin:/bin")
    assert result.returncode == 1
    assert "make sidecar" in result.stderr


@pytest.mark.parametrize("hosts", ["0", "51", "many"])
def test_up_refuses_a_number_of_hosts_that_makes_no_sense(stack: Stack, hosts: str) -> None:
    assert stack.up(HOSTS=hosts).returncode == 2


def test_brokers_alone_print_what_a_sidecar_of_the_dapr_cli_reads(stack: Stack) -> None:
    result = stack.up("--brokers")
    assert result.returncode == 0, result.stderr
    assert sorted(stack.pids()) == ["mosquitto", "redis"]
    assert f"export REDIS_HOST='127.0.0.1:{stack.base + 8}'\n" in result.stdout
