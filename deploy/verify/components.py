"""A component set is whole: the names that the manager asks for, the apps that may see them, and the retries."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from deploy.verify.documents import Document
from deploy.verify.names import NAMES
from deploy.verify.problems import Problem

COMPONENT, RESILIENCY = "dapr.io/v1alpha1/Component", "dapr.io/v1alpha1/Resiliency"
BLOCKS = {
    NAMES.pubsub: "pubsub.",
    NAMES.statestore: "state.",
    NAMES.sweep_binding: "bindings.",
    NAMES.commands_binding: "bindings.",
    "secretstore": "secretstores.",
}
NEEDED = (NAMES.pubsub, NAMES.statestore, NAMES.sweep_binding)
APPS = (NAMES.handlers_app_id, NAMES.host_app_id)


def check_one(document: Document) -> Iterator[Problem]:
    """A component bears a name that the manager asks for, is of that kind, and for apps that there are."""
    if document.kind != COMPONENT:
        return
    block, type_ = BLOCKS.get(document.name), str(document.data.get("spec", {}).get("type"))
    if block is None:
        yield document.problem(("metadata", "name"), f"the manager asks for no component {document.name}")
    elif not type_.startswith(block):
        yield document.problem(("spec", "type"), f"{document.name} must be of a type that begins with {block}")
    for number, app in enumerate(document.data.get("scopes") or []):
        if app not in APPS:
            yield document.problem(("scopes", number), f"no app is called {app}")


def check_set(folder: Path, documents: Sequence[Document]) -> Iterator[Problem]:
    """All that the manager needs is in a set, once, and retries are for components that are in it or may be."""
    components = [document for document in documents if document.kind == COMPONENT]
    names = [document.name for document in components]
    if components:
        yield from (Problem(folder, 1, f"the set has no component {name}") for name in NEEDED if name not in names)
    for document in components:
        if names.count(document.name) > 1:
            yield document.problem(("metadata", "name"), f"the set has {document.name} twice")
    for document in documents:
        if document.kind == RESILIENCY:
            targets = ("spec", "targets", "components")
            for name in document.data.get("spec", {}).get("targets", {}).get("components", {}):
                if name not in BLOCKS:
                    yield document.problem((*targets, name), f"no component is called {name}")
