"""YAML that is no resource of a cluster: connections, and a run template of the Dapr CLI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from deploy.verify.components import APPS
from deploy.verify.documents import Document
from deploy.verify.problems import Problem
from runtime.cli.plan import BadFile, read_connections

_PORTS = ("appPort", "daprHTTPPort", "daprGRPCPort", "metricsPort", "daprInternalGRPCPort")


def check(document: Document, root: Path) -> Iterator[Problem]:
    """What is wrong, also when nobody knows what a file is."""
    if isinstance(document.data, list) or (isinstance(document.data, dict) and document.data.keys() == {"connections"}):
        try:
            read_connections((root / document.file).read_bytes())
        except BadFile as error:
            yield from (document.problem((), reason) for reason in error.reasons)
    elif isinstance(document.data, dict) and {"version", "apps"} <= document.data.keys():
        yield from _run_template(document)
    else:
        yield document.problem((), "is neither a resource of a cluster nor anything else that is known here")


def _run_template(document: Document) -> Iterator[Problem]:
    taken: dict[int, str] = {}
    for number, app in enumerate(document.data["apps"]):
        if app.get("appID") not in APPS:
            yield document.problem(("apps", number, "appID"), f"no app is called {app.get('appID')}")
        ports = {name: app[name] for name in _PORTS if name in app}
        if "WSM_OPS_PORT" in app.get("env", {}):
            ports["env"] = int(app["env"]["WSM_OPS_PORT"])
        for name, port in ports.items():
            if port in taken:
                yield document.problem(("apps", number, name), f"port {port} is taken by {taken[port]}")
            taken[port] = f"{app.get('appID')} ({name})"
