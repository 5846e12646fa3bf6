"""CloudFormation templates against the resource schemas that cfn-lint brings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.verify.documents import Document
from deploy.verify.problems import MissingPartError, Problem

MARK = "AWSTemplateFormatVersion"
SAYS_SO = (0, 2, 4, 6, 8, 10, 12, 14)
"""Exit codes that are sums of errors, warnings and notes."""


def is_template(document: Document) -> bool:
    """Whether a document is a template."""
    return isinstance(document.data, dict) and MARK in document.data


def check(root: Path, documents: Iterable[Document]) -> Iterator[Problem]:
    """What cfn-lint finds. Raises MissingPartError."""
    templates = sorted({str(document.file) for document in documents if is_template(document)})
    if not templates:
        return
    command = [str(Path(sys.executable).with_name("cfn-lint")), "--format", "json", "--", *templates]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)  # noqa: S603  our own
    if done.returncode not in SAYS_SO or not done.stdout.strip():
        raise MissingPartError(f"cfn-lint does not run (make test installs it): {done.stderr.strip()[-500:]}")
    for found in json.loads(done.stdout):
        start = found["Location"]["Start"]["LineNumber"]
        yield Problem(Path(found["Filename"]), start, f"{found['Rule']['Id']}: {found['Message']}")
