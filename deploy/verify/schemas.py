"""Resources against the schemas of their projects, and the fields of Dapr components and KEDA triggers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]
from jsonschema.exceptions import ValidationError, best_match  # type: ignore[import-untyped]

from deploy.verify.documents import Document, Keys
from deploy.verify.problems import Problem

FOLDER = Path(__file__).parent / "schemas"
RESOURCES = ("kubernetes", "dapr", "knative-serving", "knative-eventing", "keda", "prometheus-operator")
EVERY_COMPONENT = {"direction", "keyPrefix", "consumerID", "outboxPublishPubsub"}
"""Metadata that the sidecar itself reads, of any component."""
OF_PROFILES = {
    "azuread": re.compile(r"azure\w+", re.IGNORECASE),
    "aws": re.compile(
        r"endpoint|(aws)?(accessKey|secretKey|sessionToken|region)|assumeRoleArn|sessionName|trust\w+Arn", re.IGNORECASE
    ),
    "gcp": re.compile(r"[a-z]+(_[a-z0-9]+)+|[a-zA-Z]+"),
}
"""Fields of credentials, which all components of a cloud share and which are not described with each."""
HAVE_DEFAULTS = {"pubsub.jetstream/v1": {"deliverPolicy"}}
"""Fields that are described as needed, and without which the sidecar loads the component all the same."""
BY_KUSTOMIZE = ("kustomize.config.k8s.io/",)  # which refuses fields that it does not know
CLOSED_BY_HAND = "sources.knative.dev/v1/ContainerSource"  # its schema leaves the template open


@cache
def vendored(name: str) -> dict[str, Any]:
    """A file of `schemas/`."""
    content: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return content


@cache
def _validator(kind: str) -> Draft202012Validator | None:
    for name in RESOURCES:
        file = vendored(name)
        if kind in file["kinds"]:
            return Draft202012Validator({"$defs": file.get("$defs", {}), **file["kinds"][kind]})
    return None


@cache
def _pod_template() -> Draft202012Validator:
    definitions = vendored("kubernetes")["$defs"]
    return Draft202012Validator({"$defs": definitions, **definitions["io.k8s.api.core.v1.PodTemplateSpec"]})


def check(document: Document) -> Iterator[Problem]:
    """What the schema of its kind says against a resource."""
    if document.kind.startswith(BY_KUSTOMIZE):
        return
    validator = _validator(document.kind)
    if validator is None:
        yield document.problem(("kind",), f"no schema of {document.kind} is known")
        return
    yield from _errors(document, validator, document.data, ())
    if document.kind == CLOSED_BY_HAND:
        template = document.data.get("spec", {}).get("template", {})
        yield from _errors(document, _pod_template(), template, ("spec", "template"))
    if document.kind == "dapr.io/v1alpha1/Component":
        yield from _component(document)
    if document.kind == "keda.sh/v1alpha1/ScaledObject":
        yield from _triggers(document)


def _errors(document: Document, validator: Draft202012Validator, data: Any, base: Keys) -> Iterator[Problem]:
    for error in validator.iter_errors(data):
        deepest = best_match([error]) or error
        yield document.problem((*base, *deepest.absolute_path, *_unexpected(deepest)), _short(deepest))


def _unexpected(error: ValidationError) -> Keys:
    """The first field that should not be there, if that is what is wrong."""
    if error.validator != "additionalProperties" or not isinstance(error.schema, dict):
        return ()
    return next(((str(key),) for key in error.instance if key not in error.schema.get("properties", {})), ())


def _short(error: ValidationError) -> str:
    """The message; one that would print a whole object is cut."""
    text = str(error.message)
    return text if len(text) <= 300 else text[:300] + " …"


def _component(document: Document) -> Iterator[Problem]:
    spec = document.data.get("spec", {})
    known = vendored("components")["components"]
    key = f"{spec.get('type')}/{spec.get('version')}"
    about = known.get(key)
    if about is None:  # whether there is such a type is for the sidecar to say: not all are described
        return
    items = list(enumerate(spec.get("metadata") or []))
    fields = {field.lower() for field in (*about["fields"], *EVERY_COMPONENT)}
    shared = [OF_PROFILES[name] for name in about["profiles"] if name in OF_PROFILES]
    for number, item in items:
        name = str(item.get("name", ""))
        if name.lower() not in fields and not any(pattern.fullmatch(name) for pattern in shared):
            yield document.problem(("spec", "metadata", number), f"{key} has no field {name}")
    there = {str(item.get("name", "")).lower() for _, item in items}
    for name in about["required"]:
        if name.lower() not in there and name not in HAVE_DEFAULTS.get(key, ()):
            yield document.problem(("spec", "metadata"), f"{key} needs the field {name}")


def _triggers(document: Document) -> Iterator[Problem]:
    scalers = vendored("scalers")["scalers"]
    for number, trigger in enumerate(document.data.get("spec", {}).get("triggers", [])):
        where: Keys = ("spec", "triggers", number)
        if trigger.get("type") not in scalers:
            yield document.problem((*where, "type"), f"no trigger {trigger.get('type')} is known")
            continue
        for name in trigger.get("metadata", {}):
            if name not in scalers[trigger["type"]] and name.removesuffix("FromEnv") not in scalers[trigger["type"]]:
                yield document.problem((*where, "metadata", name), f"the trigger {trigger['type']} has no {name}")
