"""`make down`: end what `make up` started, the apps before their sidecars and these before the brokers."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from deploy.local.background import end
from deploy.local.plan import FOLDER

BROKERS = ("redis", "mosquitto")
PATIENCE_S = 45.0


def main(arguments: Sequence[str] | None = None) -> int:
    """End all by their pid files; logs and secrets stay."""
    parser = argparse.ArgumentParser(prog="make down", description=__doc__)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="with pids and logs; .run")
    folder = parser.parse_args(arguments).folder.resolve()
    names = sorted(path.stem for path in folder.glob("*.pid"))
    sidecars = [name for name in names if name.endswith(".daprd")]
    brokers = [name for name in names if name in BROKERS]
    apps = [name for name in names if name not in (*sidecars, *brokers)]
    for group in (apps, sidecars, brokers):
        for name in end(folder, group, PATIENCE_S):
            sys.stderr.write(f"{name} did not end within {PATIENCE_S:.0f} s and was killed\n")
    for path in folder.glob("names.db*"):  # of sidecars that are gone
        path.unlink()
    sys.stdout.write(f"ended: {', '.join([*apps, *sidecars, *brokers]) or 'nothing was running'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
