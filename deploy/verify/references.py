"""Resources that name others: each is there, or is made as the README says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from deploy.verify.components import COMPONENT
from deploy.verify.documents import Document
from deploy.verify.names import environments
from deploy.verify.problems import Problem

_BY_HAND = re.compile(r'create secret generic (\S+)((?:\s+\\?\s*--(?:"[^"]*"|\S)+)*)')
_QUEUES = re.compile(r"wsm_queued_bytes.*?\b(\d{6,})\b")
_KEY = re.compile(r"--from-(?:literal|file)=([\w.-]+)=?")
_POINTERS = {
    "ScaledObject": ("scaleTargetRef",),
    "Trigger": ("subscriber", "ref"),
    "SinkBinding": ("subject",),
    "RoleBinding": ("roleRef",),
}
"""Where, within `spec` or at the top, a resource names another by kind and name."""


def check(made: list[Document], readme: str) -> Iterator[Problem]:
    """What is named by the resources of one folder and is not there."""
    there = {(str(document.data["kind"]), document.name) for document in made}
    yield from _pointers(made, there)
    yield from _accounts(made, there)
    yield from _selectors(made)
    yield from _variables(made)
    yield from _secrets(made, readme, there)
    yield from _bounds(made)


def _problem(document: Document, what: str) -> Problem:
    return Problem(document.file, 1, f"{document.data['kind']} {document.name}: {what}")


def _pointers(made: list[Document], there: set[tuple[str, str]]) -> Iterator[Problem]:
    for document in made:
        keys = _POINTERS.get(str(document.data["kind"]))
        at: Any = document.data if keys == ("roleRef",) else document.data.get("spec", {})
        for key in keys or ():
            at = at.get(key, {})
        if keys and (at.get("kind", "Deployment"), at.get("name")) not in there:
            yield _problem(document, f"{keys[0]} names {at.get('kind')} {at.get('name')}, which is not there")


def _accounts(made: list[Document], there: set[tuple[str, str]]) -> Iterator[Problem]:
    for document, pod in _pods(made):
        account = pod["spec"].get("serviceAccountName")
        if account and ("ServiceAccount", account) not in there:
            yield _problem(document, f"serviceAccountName {account} is not there")


def _selectors(made: list[Document]) -> Iterator[Problem]:
    labels = [pod.get("metadata", {}).get("labels", {}) for _, pod in _pods(made)]
    for document in made:
        spec = document.data.get("spec", {})
        wanted = spec.get("selector", spec.get("podSelector"))
        if not isinstance(wanted, dict) or document.data["apiVersion"].startswith(("serving", "eventing")):
            continue
        wanted = wanted.get("matchLabels", wanted)
        if labels and not any(wanted.items() <= each.items() for each in labels):
            yield _problem(document, f"no pod has the labels {wanted}")


def _variables(made: list[Document]) -> Iterator[Problem]:
    """What components read from the sidecar's environment comes into each sidecar that loads them."""
    for document, pod in _pods(made):
        annotations = pod.get("metadata", {}).get("annotations", {})
        app = annotations.get("dapr.io/app-id")
        if app is None:
            continue
        given = {entry[0] for entry in _from_secrets(annotations)}
        given |= {part.partition("=")[0].strip() for part in annotations.get("dapr.io/env", "").split(",")}
        for component in made:
            if component.kind != COMPONENT or app not in component.data.get("scopes", [app]):
                continue
            for item in component.data["spec"].get("metadata", []):
                if "envRef" in item and item["envRef"] not in given:
                    what = f"the component {component.name} reads {item['envRef']}, which no annotation gives"
                    yield _problem(document, what)


def _secrets(made: list[Document], readme: str, there: set[tuple[str, str]]) -> Iterator[Problem]:
    by_hand = {name: set(_KEY.findall(options)) for name, options in _BY_HAND.findall(readme)}
    for document in made:
        for name, key in sorted(set(_needed(document))):
            if ("Secret", name) in there:
                continue
            if name not in by_hand:
                yield _problem(document, f"the README makes no Secret {name}")
            elif key is not None and key not in by_hand[name]:
                yield _problem(document, f"the README makes the Secret {name} without the key {key}")


def _needed(document: Document) -> Iterator[tuple[str, str | None]]:
    kind, spec = document.data["kind"], document.data.get("spec", {})
    for _, pod in _pods([document]):
        annotations = pod.get("metadata", {}).get("annotations", {})
        yield from ((name, key) for _, name, key in _from_secrets(annotations))
        if "dapr.io/app-token-secret" in annotations:
            yield annotations["dapr.io/app-token-secret"], "token"
    if kind == "TriggerAuthentication":
        yield from ((each["name"], each["key"]) for each in spec.get("secretTargetRef", []))
    if kind == "Role":
        for rule in document.data.get("rules", []):
            if "secrets" in rule.get("resources", []):
                yield from ((name, None) for name in rule.get("resourceNames", []))


def _bounds(made: list[Document]) -> Iterator[Problem]:
    """An alert on the memory of queues knows the bound that the hosts have."""
    bounds = {
        env["WSM_QUEUES_MAX_BYTES"][1]
        for document in made
        for _, env in environments(document.data)
        if "WSM_QUEUES_MAX_BYTES" in env
    }
    rules = [document for document in made if document.data["kind"] == "PrometheusRule"]
    for document in rules:
        for rule in (rule for group in document.data["spec"]["groups"] for rule in group["rules"]):
            said = _QUEUES.search(str(rule["expr"]))
            if said and bounds and said[1] not in bounds:
                what = f"{rule['alert']} is for {said[1]} bytes, WSM_QUEUES_MAX_BYTES is {', '.join(sorted(bounds))}"
                yield _problem(document, what)


def _from_secrets(annotations: dict[str, str]) -> Iterator[tuple[str, str, str]]:
    """Variable, Secret and key, of what the sidecar injector reads: `NAME=secret:key,NAME=secret:key`."""
    for part in annotations.get("dapr.io/env-from-secret", "").split(","):
        variable, _, source = part.strip().partition("=")
        secret, _, key = source.partition(":")
        if secret:
            yield variable, secret, key or secret


def _pods(made: list[Document]) -> Iterator[tuple[Document, dict[str, Any]]]:
    for document in made:
        template = document.data.get("spec", {}).get("template")
        if isinstance(template, dict) and isinstance(template.get("spec"), dict):
            yield document, template
