"""The attributes that each CloudEvent for the sink gets, as Knative hands them to a source: `K_CE_OVERRIDES`."""

from __future__ import annotations

import re

import orjson

_NAME = re.compile(r"[a-z0-9]{1,64}")
_CORE = frozenset({"specversion", "id", "source", "type", "time", "subject", "datacontenttype", "dataschema", "data"})
_OURS = _CORE | {"topic", "pubsubname"}


def read_overrides(text: str) -> dict[str, str]:
    """The `extensions` of a JSON object; none of an empty text, which a SinkBinding without overrides sets.

    Raises ValueError.
    """
    if not text.strip():
        return {}
    try:
        document = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise ValueError("is not JSON") from None
    extensions = document.get("extensions") or {} if isinstance(document, dict) else None
    is_alone = isinstance(document, dict) and not document.keys() - {"extensions"}
    if not is_alone or not isinstance(extensions, dict):
        raise ValueError('must be a JSON object with nothing but "extensions", which is a JSON object of texts')
    wrong = [reason for name, value in extensions.items() if (reason := _why_not(name, value))]
    if wrong:
        raise ValueError("; ".join(wrong))
    return extensions


def _why_not(name: str, value: object) -> str | None:
    """Why no CloudEvent can carry this beside what we say; None when it can."""
    if not _NAME.fullmatch(name):
        return "the name of an extension must be lower case letters and digits"
    if name in _OURS:
        return f"the manager sets '{name}' itself"
    return None if isinstance(value, str) else f"the extension '{name}' must be a text"
