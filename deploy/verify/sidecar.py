"""Asks the built sidecar which types of components it knows: it is started with one component of each."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from deploy.local.plan import CannotStartError, find_daprd
from deploy.verify.components import COMPONENT
from deploy.verify.documents import Document
from deploy.verify.ports import free_ports
from deploy.verify.problems import MissingPartError, Problem

PATIENCE_S = 60
_END = "All outstanding components processed"
_UNKNOWN = "couldn't find "
# No component may reach anything: what would dial is sent to a port where nobody listens, or has too little to dial.
_NOWHERE = {"redisHost": "127.0.0.1:1", "connectionString": "amqp://127.0.0.1:1", "accountId": "0" * 12}
_ENV = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_REGION": "nowhere", "DAPR_HOST_IP": "127.0.0.1"}


def check(documents: Iterable[Document]) -> Iterator[Problem]:
    """Components whose type or version the sidecar does not know. Raises MissingPartError."""
    components = [document for document in documents if document.kind == COMPONENT]
    types = sorted({_type(document) for document in components})
    unknown = set(unknown_types(types)) if types else set()
    for document in components:
        if _type(document) in unknown:
            yield document.problem(("spec", "type"), f"the sidecar knows no {_type(document)}")


def _type(document: Document) -> str:
    spec = document.data.get("spec", {})
    return f"{spec.get('type')}/{spec.get('version')}"


def unknown_types(types: list[str]) -> list[str]:
    """Those of the types, each with its version after a slash, that the sidecar does not know."""
    try:
        daprd = find_daprd()
    except CannotStartError as error:
        raise MissingPartError(str(error)) from error
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        resources = Path(folder) / "resources"
        resources.mkdir()
        resource = [_component(f"asked-{number}", *type_.split("/", 1)) for number, type_ in enumerate(types)]
        (resources / "asked.yaml").write_text("\n---\n".join(json.dumps(each) for each in resource))
        with log.open("w") as out:
            process = subprocess.Popen(  # noqa: S603  our own
                _command(daprd, resources), stdout=out, stderr=out, cwd=folder, env={**os.environ, **_ENV}
            )
            try:
                said = _until_processed(process, log)
            finally:
                process.kill()
                process.wait()
    return [type_ for number, type_ in enumerate(types) if _is_unknown(said, f"asked-{number} ({type_})")]


def _is_unknown(said: str, what: str) -> bool:
    return any(_UNKNOWN in line and f"component {what}" in line for line in said.splitlines())


def _until_processed(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + PATIENCE_S
    while _END not in (said := log.read_text()):
        if process.poll() is not None or time.monotonic() > end:
            raise MissingPartError(f"the sidecar did not look at its components; it said:\n{said[-2000:]}")
        time.sleep(0.1)
    return said


def _component(name: str, type_: str, version: str) -> dict[str, object]:
    fields = {"direction": "output", **_NOWHERE}
    metadata = [{"name": key, "value": value} for key, value in fields.items()]
    spec = {"type": type_, "version": version, "ignoreErrors": True, "initTimeout": "1s", "metadata": metadata}
    return {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec}


def _command(daprd: str, resources: Path) -> list[str]:
    http, grpc, internal = free_ports(3)
    return [
        *(daprd, "--app-id", "asked", "--resources-path", str(resources), "--enable-metrics=false"),
        *("--dapr-http-port", str(http), "--dapr-grpc-port", str(grpc), "--dapr-internal-grpc-port", str(internal)),
        *("--dapr-listen-addresses", "127.0.0.1", "--dapr-internal-grpc-listen-address", "127.0.0.1"),
    ]
