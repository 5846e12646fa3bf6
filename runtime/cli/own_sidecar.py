"""A sidecar that a command starts for itself, with an app-id of its own: it takes no event from any other app."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp
import orjson

from runtime.cli.calls import EXIT_REFUSED, CallFailed
from runtime.cli.own_app_id import own_app_id
from runtime.cli.own_resources import copy_in_order

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S, LOOK_EVERY_S, GRACE_S = 60.0, 0.1, 5.0


@asynccontextmanager
async def own_sidecar(purpose: str, resources: Path | None, app_port: int, topics: set[str]) -> AsyncIterator[None]:
    """Run a daprd for the block, and wait until it has subscribed to the topics. Raises CallFailed."""
    program, components = _daprd(), resources or _default_resources()
    with TemporaryDirectory(prefix="wsm-") as name, own_app_id(purpose) as (app_id, locks):
        folder = Path(name)
        where = copy_in_order(components, folder / "components")
        http, *others = _free_ports(4)
        log = folder / "daprd.log"
        with log.open("wb") as output:
            process = await asyncio.create_subprocess_exec(
                program,
                *("--app-id", app_id, "--resources-path", str(where), "--config", str(_config(folder))),
                *("--app-port", str(app_port), "--app-protocol", "grpc", "--dapr-http-port", str(http)),
                *("--dapr-grpc-port", str(others[0]), "--dapr-internal-grpc-port", str(others[1])),
                *("--metrics-port", str(others[2]), "--metrics-listen-address", "127.0.0.1"),
                *("--dapr-listen-addresses", "127.0.0.1", "--dapr-internal-grpc-listen-address", "127.0.0.1"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=_environment(),
                pass_fds=locks,
                start_new_session=True,  # Ctrl-C is for us: we end it in order
            )
        try:
            await _until_subscribed(http, topics, process, log)
            yield
        finally:
            await _end(process)


@asynccontextmanager
async def ended_by_signals() -> AsyncIterator[None]:
    """Leave the block in order at SIGTERM and SIGHUP too, so that what it has started is ended."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _daprd() -> str:
    """The one on PATH, else the one that `make sidecar` has built."""
    script = ROOT / "deploy" / "sidecar" / "build.sh"
    if script.exists():
        import subprocess

        found = subprocess.run([script, "--path"], capture_output=True, text=True, check=False)  # noqa: S603 - our own
        if found.returncode == 0:
            return found.stdout.strip()
    program = shutil.which("daprd")
    if program is None:
        raise CallFailed("daprd is missing: make sidecar, or put one on PATH", EXIT_REFUSED)
    return program


def _default_resources() -> Path:
    for folder in (Path("components/local"), ROOT / "components" / "local"):
        if folder.is_dir():
            return folder
    raise CallFailed("which components? set --resources, or WSM_RESOURCES, to their folder", EXIT_REFUSED)


def _environment() -> dict[str, str]:
    """Ours, over what `make up` has left for its sidecars."""
    left: dict[str, str] = {}
    with suppress(OSError, orjson.JSONDecodeError):
        left = orjson.loads((Path(".run") / "sidecar.json").read_bytes())
    return {"DAPR_HOST_IP": "127.0.0.1", **left, **os.environ}


def _config(folder: Path) -> Path:
    """Names of apps come from a file: the default, mDNS, asks the network."""
    path = folder / "daprd.yaml"
    resolution = {
        "component": "sqlite",
        "version": "v1",
        "configuration": {"connectionString": str(folder / "names.db")},
    }
    kind = {"apiVersion": "dapr.io/v1alpha1", "kind": "Configuration", "metadata": {"name": "wsm"}}
    path.write_bytes(orjson.dumps({**kind, "spec": {"nameResolution": resolution}}))  # JSON is YAML
    return path


def _free_ports(count: int) -> list[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(listener.getsockname()[1]) for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


async def _until_subscribed(port: int, topics: set[str], process: asyncio.subprocess.Process, log: Path) -> None:
    token = os.environ.get("DAPR_API_TOKEN")
    headers = {"dapr-api-token": token} if token else {}
    try:
        async with asyncio.timeout(PATIENCE_S), aiohttp.ClientSession(headers=headers, trust_env=False) as session:
            while not topics <= await _subscribed(session, port):
                if process.returncode is not None:
                    raise CallFailed(f"the sidecar has ended: {_last_line(log)}", EXIT_REFUSED)
                await asyncio.sleep(LOOK_EVERY_S)
    except TimeoutError:
        why = f"the sidecar has not subscribed within {PATIENCE_S:g} s: {_last_line(log)}"
        raise CallFailed(why, EXIT_REFUSED) from None


async def _subscribed(session: aiohttp.ClientSession, port: int) -> set[str]:
    try:
        async with session.get(f"http://127.0.0.1:{port}/v1.0/metadata") as answer:
            found = await answer.json()
    except aiohttp.ClientError:
        return set()
    return {each["topic"] for each in found.get("subscriptions", [])}


def _last_line(log: Path) -> str:
    """What it said last, of what is wrong if it says so."""
    lines = log.read_text(errors="replace").splitlines()
    wrong = [line for line in lines if "level=fatal" in line or "level=error" in line]
    return (wrong or lines or ["it said nothing"])[-1]


async def _end(process: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        async with asyncio.timeout(GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
