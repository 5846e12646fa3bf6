"""A real daprd for tests. The programs behind its components are fixtures of `tests/conftest.py`."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import ProxyHandler, Request, build_opener

from tests.processes import Process, free_ports

ROOT = Path(__file__).parent.parent
COMPONENTS = ROOT / "components"
DIRECT = build_opener(ProxyHandler({}))


@cache
def daprd_path() -> str:
    """The daprd to use: a supported one on PATH, else the one that `make sidecar` built."""
    script = ROOT / "deploy" / "sidecar" / "build.sh"
    found = subprocess.run([script, "--path"], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.strip()


class Sidecar(Process):
    """A daprd on ports that it keeps over a restart.

    `app_port`: where the app answers by gRPC, or None for a sidecar without an app. It is up when its own calls
    work (`/v1.0/healthz/outbound`), which needs no app; `is_healthy` says that it has found the app too. `names` is
    a folder that sidecars which invoke each other share. `folder` keeps its log.
    """

    def __init__(
        self,
        app_id: str,
        resources: Path,
        folder: Path,
        *,
        app_port: int | None = None,
        env: Mapping[str, str] | None = None,
        args: tuple[str, ...] = (),
        names: Path | None = None,
        patience_s: float = 60,
    ) -> None:
        self.app_id, self.app_port = app_id, app_port
        self.http_port, self.grpc_port, internal, metrics = free_ports(4)
        command = [
            daprd_path(),
            *("--app-id", app_id, "--resources-path", str(resources), "--config", str(_config(names or folder))),
            *("--dapr-http-port", str(self.http_port), "--dapr-grpc-port", str(self.grpc_port)),
            *("--dapr-internal-grpc-port", str(internal), "--metrics-port", str(metrics)),
            *("--dapr-listen-addresses", "127.0.0.1", "--dapr-internal-grpc-listen-address", "127.0.0.1"),
            *("--metrics-listen-address", "127.0.0.1"),
            *(() if app_port is None else ("--app-port", str(app_port), "--app-protocol", "grpc")),
            *args,
        ]
        token = (env or {}).get("DAPR_API_TOKEN")
        self.headers = {} if token is None else {"dapr-api-token": token}
        name = f"daprd-{app_id}-{self.http_port}"
        variables = {"DAPR_HOST_IP": "127.0.0.1", **(env or {})}
        super().__init__(name, command, folder, lambda: self.answers("healthz/outbound"), env=variables)
        self.patience_s = patience_s

    @property
    def url(self) -> str:
        """The address of its HTTP API."""
        return f"http://127.0.0.1:{self.http_port}/v1.0"

    @property
    def is_healthy(self) -> bool:
        """Whether it is up, its app included."""
        return self.answers("healthz")

    def answers(self, path: str) -> bool:
        """Whether a GET succeeds within a second."""
        try:
            with DIRECT.open(Request(f"{self.url}/{path}", headers=self.headers), timeout=1) as answer:
                return answer.status < 300
        except (URLError, OSError):
            return False

    def metadata(self) -> dict[str, Any]:
        """What it says of itself."""
        with DIRECT.open(Request(f"{self.url}/metadata", headers=self.headers), timeout=10) as answer:
            return json.load(answer)

    def components(self) -> dict[str, str]:
        """The type of each component that it has loaded, by name."""
        return {component["name"]: component["type"] for component in self.metadata().get("components", [])}


def _config(folder: Path) -> Path:
    """A configuration in which sidecars find each other by a file: the default, mDNS, would ask the network."""
    path = folder / "daprd-config.yaml"
    where = json.dumps(str(folder / "names.db"))
    path.write_text(
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: test}\n"
        f"spec: {{nameResolution: {{component: sqlite, version: v1, configuration: {{connectionString: {where}}}}}}}\n"
    )
    return path


@contextmanager
def started_sidecar(sidecar: Sidecar) -> Iterator[Sidecar]:
    """Run a sidecar for the block; it is gone afterwards."""
    try:
        sidecar.start()
        yield sidecar
    finally:
        sidecar.kill()


@asynccontextmanager
async def running_sidecar(sidecar: Sidecar) -> AsyncIterator[Sidecar]:
    """The same, without holding the loop: the app may live in it."""
    try:
        sidecar.spawn()
        await asyncio.to_thread(sidecar.wait_ready)
        yield sidecar
    finally:
        await asyncio.to_thread(sidecar.kill)
