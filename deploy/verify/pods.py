"""What must fit together inside one pod: ports, probes, sidecar, time to stop, memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from deploy.verify.documents import Document, Keys
from deploy.verify.names import NAMES, environments, settings_of
from deploy.verify.problems import Problem
from deploy.verify.schemas import vendored
from runtime.settings import Mode, Profile, Settings

DAPR_PORTS = {"dapr.io/grpc-port": 50001, "dapr.io/internal-grpc-port": 50002, "dapr.io/metrics-port": 9090}
SIDECAR_PORTS = (3500, 3501)
QUEUE_PROXY_PORTS = (8012, 8013, 8022, 9090, 9091)
_UNITS = {"Ki": 1024, "Mi": 1024**2, "Gi": 1024**3}


def check(document: Document) -> Iterator[Problem]:
    """What is wrong in the pods of a resource that has some."""
    base: Keys = ("spec", "template")
    template = document.data.get("spec", {}).get("template")
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        return
    annotations = template.get("metadata", {}).get("annotations", {})
    containers = [c for c in template["spec"].get("containers", []) if isinstance(c, dict)]
    where: Keys = (*base, "metadata", "annotations")
    for number, container in enumerate(containers):
        at: Keys = (*base, "spec", "containers", number)
        settings = _settings(container)
        yield from _probes(document, at, container)
        if settings is None:
            continue
        yield from _memory(document, at, container, settings)
        if settings.ops_host == "0.0.0.0":  # noqa: S104  what is asked is whether it is so
            yield from _ops_port(document, at, container, settings)
        if settings.profile is Profile.DAPR:
            yield from _sidecar(document, where, annotations, settings, template["spec"])
    yield from _ports(document, where, annotations, containers)


def _settings(container: dict[str, Any]) -> Settings | None:
    """The settings of a container that runs the manager."""
    env = {name: value for _, found in environments(container.get("env", [])) for name, (_, value) in found.items()}
    if not env:
        return None
    arguments = container.get("args", [])
    mode = arguments[arguments.index("--mode") + 1] if "--mode" in arguments[:-1] else "all"
    return settings_of({**env, "WSM_MODE": str(mode)})


def _probes(document: Document, at: Keys, container: dict[str, Any]) -> Iterator[Problem]:
    ports = [port.get("name") for port in container.get("ports", [])]
    for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
        asked = container.get(probe, {}).get("httpGet")
        if not isinstance(asked, dict):
            continue
        if asked.get("path") != path:
            yield document.problem((*at, probe, "httpGet", "path"), f"must be {path}")
        if isinstance(asked.get("port"), str) and asked["port"] not in ports:
            yield document.problem((*at, probe, "httpGet", "port"), f"the container has no port {asked['port']}")


def _ops_port(document: Document, at: Keys, container: dict[str, Any], settings: Settings) -> Iterator[Problem]:
    for number, port in enumerate(container.get("ports", [])):
        if port.get("name") == "ops" and port.get("containerPort") != settings.ops_port:
            keys = (*at, "ports", number, "containerPort")
            yield document.problem(keys, f"must be WSM_OPS_PORT, {settings.ops_port}")
        if "name" not in port and port.get("containerPort") != settings.events_port:
            keys = (*at, "ports", number, "containerPort")
            yield document.problem(keys, f"must be WSM_EVENTS_PORT, {settings.events_port}")


def _memory(document: Document, at: Keys, container: dict[str, Any], settings: Settings) -> Iterator[Problem]:
    """The limit holds what the manager says it holds at most, and a fifth more for messages that are being received."""
    limit = container.get("resources", {}).get("limits", {}).get("memory")
    if limit is None or settings.mode is Mode.HANDLERS:
        return
    bound_mib = settings.limits().memory_bound_mib()["total"]
    has_mib = _bytes(str(limit)) / 1024**2
    if has_mib < 1.2 * bound_mib:
        what = f"{limit} is less than 1.2 times the {bound_mib} MiB that a host of these settings holds at most"
        yield document.problem((*at, "resources", "limits", "memory"), what)


def _sidecar(
    document: Document, where: Keys, annotations: dict[str, str], settings: Settings, pod: dict[str, Any]
) -> Iterator[Problem]:
    for name in annotations:
        if name.startswith("dapr.io/") and name not in vendored("annotations")["annotations"]:
            yield document.problem((*where, name), "the sidecar injector has no such annotation")
    wanted = {
        "dapr.io/enabled": "true",
        "dapr.io/app-id": NAMES.host_app_id if settings.mode is Mode.HOST else NAMES.handlers_app_id,
        "dapr.io/app-port": str(settings.app_port),
        "dapr.io/app-protocol": "grpc",
        "dapr.io/enable-app-health-check": "true",
    }
    for name, value in wanted.items():
        if annotations.get(name) != value:
            yield document.problem((*where, name), f"must be {value}, is {annotations.get(name)}")
    block_s = _seconds(annotations.get("dapr.io/block-shutdown-duration", "0s"))
    graceful_s = int(annotations.get("dapr.io/graceful-shutdown-seconds", "5"))
    if settings.mode is not Mode.HANDLERS and block_s < settings.drain_deadline_s:
        keys = (*where, "dapr.io/block-shutdown-duration")
        yield document.problem(keys, f"is shorter than the drain of {settings.drain_deadline_s:g} s")
    grace_s = pod.get("terminationGracePeriodSeconds", pod.get("timeoutSeconds", 30))
    if grace_s < block_s + graceful_s:
        what = f"{grace_s} s end the sidecar before its {block_s:g} + {graceful_s} s are over"
        yield document.problem(("spec", "template", "spec", "terminationGracePeriodSeconds"), what)


def _ports(
    document: Document, where: Keys, annotations: dict[str, str], containers: list[dict[str, Any]]
) -> Iterator[Problem]:
    """No two listen on one port: containers of a pod share their network."""
    taken: dict[int, str] = {}
    if document.kind == "serving.knative.dev/v1/Service":
        taken = dict.fromkeys(QUEUE_PROXY_PORTS, "the queue-proxy")
    wanted = [(port, "the sidecar", where) for port in SIDECAR_PORTS if annotations.get("dapr.io/enabled")]
    if annotations.get("dapr.io/enabled"):
        for name, port in DAPR_PORTS.items():
            wanted.append((int(annotations.get(name, port)), f"the sidecar ({name})", (*where, name)))
    for number, container in enumerate(containers):
        at: Keys = ("spec", "template", "spec", "containers", number)
        settings = _settings(container)
        if settings is None:
            continue
        used = {"app_port": settings.profile is Profile.DAPR, "ops_port": settings.ops}
        for name in ("app_port", "ops_port", "events_port"):
            port = getattr(settings, name)
            if port and used.get(name, True):
                wanted.append((port, f"WSM_{name.upper()}", (*at, "env")))
    for port, whose, keys in wanted:
        if port in taken:
            yield document.problem(keys, f"port {port} of {whose} is taken by {taken[port]}")
        taken.setdefault(port, whose)


def _bytes(quantity: str) -> float:
    match = re.fullmatch(r"([\d.]+)(Ki|Mi|Gi)?", quantity)
    assert match is not None, quantity
    return float(match[1]) * _UNITS.get(match[2], 1)


def _seconds(duration: str) -> float:
    match = re.fullmatch(r"([\d.]+)(s|m)", duration)
    return float(match[1]) * (60 if match[2] == "m" else 1) if match else 0.0
