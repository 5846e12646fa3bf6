"""`python -m deploy.verify [FOLDER]` ends with 0: nothing is wrong, 1: a line for each problem, 2: it cannot check."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from deploy.verify.checks import verify
from deploy.verify.problems import MissingPartError


def main() -> int:
    """Check a checkout, this one unless another is named."""
    parser = argparse.ArgumentParser(prog="python -m deploy.verify", description="Checks all files of deployment.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parents[2])
    root = parser.parse_args().folder
    try:
        count, problems = verify(root)
    except MissingPartError as error:
        sys.stderr.write(f"verify: {error}\n")
        return 2
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(f"verify: {count} files, {len(problems)} problems\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
