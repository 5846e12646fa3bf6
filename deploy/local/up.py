"""`make up`: the local component set, one handlers app and HOSTS host apps with their sidecars, in the background."""

from __future__ import annotations

import argparse
import json
import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from deploy.local.background import pid_file, running, start, tail
from deploy.local.plan import (
    BASE_PORT,
    FOLDER,
    HOSTS_MAX,
    WSM,
    CannotStartError,
    Part,
    apps,
    brokers,
    find_daprd,
    sidecar_config,
    sidecar_env,
)

PATIENCE_S = 90.0
_direct = build_opener(ProxyHandler({}))


def main(arguments: Sequence[str] | None = None, wsm: Sequence[str] = (WSM,)) -> int:
    """Start what does not run yet and say what runs where."""
    parser = argparse.ArgumentParser(prog="make up", description=__doc__)
    parser.add_argument("--hosts", type=int, default=os.environ.get("HOSTS") or 1, help="host apps (HOSTS); 1")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for pids and logs; .run")
    parser.add_argument("--brokers", action="store_true", help="Redis and mosquitto only; prints what daprd needs")
    given = parser.parse_args(arguments)
    if not 1 <= given.hosts <= HOSTS_MAX:
        parser.error(f"HOSTS must be from 1 to {HOSTS_MAX}")
    try:
        base = int(os.environ.get("DAPR_HTTP_PORT") or BASE_PORT)
    except ValueError:
        parser.error("DAPR_HTTP_PORT must be a number")
    folder = given.folder.resolve()
    try:
        _prepare(folder, base)
        parts = brokers(folder, base)
        shown = _start(parts, folder)
        if not given.brokers:
            more = list(apps(folder, base, given.hosts, os.environ, daprd=find_daprd(), wsm=wsm))
            parts += more
            shown += _start(more, folder)
    except CannotStartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if given.brokers:
        exports = sidecar_env(folder, base, os.environ)
        sys.stdout.write("".join(f"export {name}='{value}'\n" for name, value in exports.items()))
    else:
        sys.stdout.write(_table(parts, folder, shown))
    return 0


def _prepare(folder: Path, base: int) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "daprd.yaml").write_text(sidecar_config(folder))
    (folder / "sidecar.json").write_text(json.dumps(sidecar_env(folder, base, os.environ)))  # for `wsm tail`
    secrets = folder / "secrets.json"
    if not secrets.exists():
        secrets.touch(0o600)
        secrets.write_text("{}\n")


def _start(parts: Sequence[Part], folder: Path) -> list[str]:
    """Start those that do not run, and wait for all; the names of the new ones. Raises CannotStartError."""
    missing = [part for part in parts if running(folder, part.name) is None]
    taken = [part for part in missing if _is_open(part.port)]
    if taken:
        lines = [f"port {part.port} is taken, so {part.name} cannot have it" for part in taken]
        raise CannotStartError("\n".join([*lines, "end what listens there, or say DAPR_HTTP_PORT=4500 make up"]))
    for part in missing:
        start(part, folder, dict(os.environ))
    deadline = time.monotonic() + PATIENCE_S
    for part in parts:
        while not (_is_open(part.port) and (part.health is None or _is_healthy(part.health))):
            _check(parts, folder, is_late=time.monotonic() > deadline, waiting_for=part)
            time.sleep(0.05)
    return [part.name for part in missing]


def _check(parts: Sequence[Part], folder: Path, *, is_late: bool, waiting_for: Part) -> None:
    """Give up when a part has ended, or when it takes too long. Raises CannotStartError."""
    ended = [part for part in parts if running(folder, part.name) is None]
    if ended or is_late:
        name = ended[0].name if ended else waiting_for.name
        what = "ended" if ended else f"is not up after {PATIENCE_S:.0f} s"
        log = folder / f"{name}.log"
        raise CannotStartError(
            f"{tail(folder, name)}\n{name} {what}; above is the end of {log}\nmake down ends the rest"
        )


def _is_open(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _is_healthy(url: str) -> bool:
    try:
        with _direct.open(url, timeout=2) as answer:
            return bool(answer.status == 204)
    except (URLError, OSError):
        return False


def _table(parts: Sequence[Part], folder: Path, started: Sequence[str]) -> str:
    rows = [("", "pid", "port", "", "")]
    for part in parts:
        pid = pid_file(folder, part.name).read_text().strip()
        rows.append((part.name, pid, str(part.port), part.shows, "" if part.name in started else "ran already"))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"pids and logs are in {folder}; make down ends all"]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
