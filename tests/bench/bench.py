"""Figures as ratios to references that are measured in the same run, a module for each group of rows.

Nothing is asserted: the machine decides the figures, and only the ratios of one run mean something elsewhere.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from tests.bench import (
    blocked,
    embedded,
    failover,
    growth,
    idle,
    latency,
    null,
    quiet,
    rest,
    sidecar,
    storm,
    sweep,
    throughput,
)
from tests.bench.table import Group, as_json, as_table

Measure = Callable[[Path], Awaitable[Group]]
GROUPS: Mapping[str, Measure] = {
    "embedded": embedded.measure,
    "throughput": throughput.measure,
    "null": null.measure,
    "latency": latency.measure,
    "quiet": quiet.measure,
    "idle": idle.measure,
    "storm": storm.measure,
    "sidecar": sidecar.measure,
    "growth": growth.measure,
    "blocked": blocked.measure,
    "rest": rest.measure,
    "pass": sweep.measure,
    "failover": failover.measure,
}
LONG = frozenset({"sidecar", "growth", "blocked", "rest", "pass", "failover"})
"""Measured only when asked for by name: all others together take less than six minutes."""
WIDTH = 120  # of the output when it is not a terminal
PACKAGES = ("websockets", "uvloop", "orjson", "grpcio", "dapr", "picows", "websocket-manager")


def main(
    args: Sequence[str] | None = None, groups: Mapping[str, Measure] = GROUPS, long: Collection[str] = LONG
) -> None:
    """Measure, print, and write JSON where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures to this file")
    parser.add_argument(
        "--only", action="append", choices=groups, help="this group; may be given again; else all but the long ones"
    )
    asked = parser.parse_args(args)
    began = datetime.now(UTC)
    chosen = asked.only or [name for name in groups if name not in long]
    measured = {name: _measured(groups[name]) for name in dict.fromkeys(chosen)}
    if asked.json:
        asked.json.write_text(json.dumps(as_json(_meta(began), measured), indent=2) + "\n")
    if not asked.only and long:
        print(f"Not measured, since it takes long: {', '.join(sorted(long))}. make bench ONLY=… does.")  # noqa: T201


def _measured(measure: Measure) -> Group:
    """A group, which is printed at once: the next one takes its time."""

    async def run() -> Group:
        with TemporaryDirectory() as folder:
            return await measure(Path(folder))

    began = time.monotonic()
    group = asyncio.run(run())
    group = replace(group, about={**group.about, "tookS": round(time.monotonic() - began)})
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    console.print(as_table(group), group.note, "", sep="\n", soft_wrap=True)
    return group


def _meta(began: datetime) -> dict[str, object]:
    return {
        "at": began.isoformat(timespec="seconds"),
        "tookS": round((datetime.now(UTC) - began).total_seconds()),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: version(name) for name in PACKAGES},
        "loadAverage": round(os.getloadavg()[0], 2),
    }


if __name__ == "__main__":
    main()
