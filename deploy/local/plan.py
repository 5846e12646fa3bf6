"""What `make up` runs, and where: nothing here starts anything."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".run"
RESOURCES = ROOT / "components" / "local"
WSM = str(Path(sys.executable).with_name("wsm"))
BASE_PORT = 3500
HOSTS_MAX = 50
HTTP, GRPC, APP, METRICS, INTERNAL, OPS, REDIS, MOSQUITTO = 0, 1, 2, 3, 4, 5, 8, 9
"""Where a port lies in its block of ten. The handlers have the first block, with the brokers; each host has one."""


class CannotStartError(Exception):
    """Something is missing or in the way; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Part:
    """One process. `name` is that of its files; it is up when something listens on `port`, and answers on `health`."""

    name: str
    command: tuple[str, ...]
    port: int
    shows: str
    env: Mapping[str, str] = field(default_factory=dict)
    health: str | None = None


def brokers(folder: Path, base: int) -> list[Part]:
    """Redis and mosquitto, which keep nothing on disk."""
    redis = _program("redis-server", "apt-get install redis-server")
    mosquitto = _program("mosquitto", "apt-get install mosquitto")
    options = ("--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", str(folder))
    return [
        Part("redis", (redis, "--port", str(base + REDIS), *options), base + REDIS, "topics and records"),
        Part("mosquitto", (mosquitto, "-p", str(base + MOSQUITTO)), base + MOSQUITTO, "commands by MQTT"),
    ]


def sidecar_env(folder: Path, base: int, environ: Mapping[str, str]) -> dict[str, str]:
    """What the components of the local set read."""
    return {
        "REDIS_HOST": f"127.0.0.1:{base + REDIS}",
        "MQTT_URL": f"mqtt://127.0.0.1:{base + MOSQUITTO}",
        "SECRETS_FILE": environ.get("SECRETS_FILE") or str(folder / "secrets.json"),
    }


def apps(
    folder: Path, base: int, hosts: int, environ: Mapping[str, str], *, daprd: str, wsm: Sequence[str] = (WSM,)
) -> Iterator[Part]:
    """The handlers and the hosts, each after its sidecar."""
    env = sidecar_env(folder, base, environ)
    names = ["handlers", *(f"host-{number}" for number in range(1, hosts + 1))]
    for number, name in enumerate(names):
        mode = "handlers" if number == 0 else "host"
        at = base + 10 * number
        yield Part(
            f"{name}.daprd",
            (daprd, *_sidecar_options(folder, f"websocket-{mode}", at)),
            at + HTTP,
            f"sidecar: http {at + HTTP}, gRPC {at + GRPC}",
            {**env, "DAPR_HOST_IP": "127.0.0.1"},
            f"http://127.0.0.1:{at + HTTP}/v1.0/healthz",
        )
        ports = {"APP_PORT": str(at + APP), "DAPR_HTTP_PORT": str(at + HTTP), "DAPR_GRPC_PORT": str(at + GRPC)}
        ports["WSM_OPS_PORT"] = str(at + OPS)
        yield Part(
            name,
            (*wsm, "run", "--profile", "dapr", "--mode", mode),
            at + APP,
            f"app: gRPC {at + APP}, metrics {at + OPS}",
            ports | ({} if mode == "handlers" else {"WSM_INSTANCE_ID": name}),
        )


def sidecar_config(folder: Path) -> str:
    """A Dapr Configuration by which sidecars find each other in a file: the default, mDNS, asks the network."""
    where = json.dumps(str(folder / "names.db"))
    return (
        "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata: {name: local}\n"
        f"spec: {{nameResolution: {{component: sqlite, version: v1, configuration: {{connectionString: {where}}}}}}}\n"
    )


def find_daprd() -> str:
    """The daprd to run. Raises CannotStartError."""
    script = ROOT / "deploy" / "sidecar" / "build.sh"
    found = subprocess.run([script, "--path"], capture_output=True, text=True, check=False)  # noqa: S603  our own
    if found.returncode != 0:
        raise CannotStartError(found.stderr.strip())
    return found.stdout.strip()


def _sidecar_options(folder: Path, app_id: str, at: int) -> tuple[str, ...]:
    ports = {
        "--dapr-http-port": HTTP,
        "--dapr-grpc-port": GRPC,
        "--app-port": APP,
        "--metrics-port": METRICS,
        "--dapr-internal-grpc-port": INTERNAL,
    }
    return (
        *("--app-id", app_id, "--app-protocol", "grpc", "--enable-app-health-check"),
        *("--resources-path", str(RESOURCES), "--config", str(folder / "daprd.yaml")),
        *(text for option, offset in ports.items() for text in (option, str(at + offset))),
        *("--dapr-listen-addresses", "127.0.0.1", "--dapr-internal-grpc-listen-address", "127.0.0.1"),
        *("--metrics-listen-address", "127.0.0.1"),
    )


def _program(name: str, how: str) -> str:
    path = shutil.which(name) or shutil.which(name, path=os.pathsep.join(("/usr/sbin", "/usr/local/sbin")))
    if path is None:
        raise CannotStartError(f"{name} is missing: {how}")
    return path
