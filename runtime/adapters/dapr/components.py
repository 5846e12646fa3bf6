"""What the sidecar has loaded, compared with what the manager needs."""

from __future__ import annotations

from dataclasses import dataclass

from dapr.proto.runtime.v1.metadata_pb2 import GetMetadataResponse

from runtime.errors import PermanentError
from runtime.ports import Names


@dataclass(frozen=True, slots=True)
class Kinds:
    """The types of the two components on which everything rests, such as `pubsub.redis` and `state.redis`."""

    pubsub: str
    statestore: str


def check_components(metadata: GetMetadataResponse, names: Names) -> Kinds:
    """The kinds of pub/sub and state store. Raises PermanentError that names what is missing and what is there."""
    return Kinds(_find(metadata, "pubsub", names.pubsub), _find(metadata, "state", names.statestore))


def _find(metadata: GetMetadataResponse, block: str, name: str) -> str:
    loaded: dict[str, str] = {component.name: component.type for component in metadata.registered_components}
    kind: str = loaded.get(name, "")
    if kind.startswith(f"{block}."):
        return kind
    setting = {"pubsub": "WSM_PUBSUB", "state": "WSM_STATESTORE"}[block]
    there = ", ".join(f"{each} ({its_kind})" for each, its_kind in sorted(loaded.items())) or "none"
    what = f"the sidecar has no {block} component '{name}'"
    raise PermanentError(f"{what}; loaded: {there}. Name the component so, or set {setting}")
