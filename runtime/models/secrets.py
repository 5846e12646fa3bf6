"""References to secrets: what options and records hold in their place, and how the values are put where they belong."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated
from urllib.parse import quote

import orjson
from pydantic import Field

from runtime.models.wire import WireModel

MAX_SECRETS = 32
NAME = r"[A-Za-z_][A-Za-z0-9_]{0,63}"
# `$${name}` stands for the text `${name}` itself.
_PLACEHOLDER = re.compile(rf"\$(?P<escape>\$?)\{{(?P<name>{NAME})\}}")
_REFERENCE = r"^[A-Za-z0-9._-]{1,128}/[\x21-\x7e]{1,256}$"


class SecretReference(WireModel):
    """Where a secret is: the name of a store, a slash, and the key in it."""

    secret: str = Field(pattern=_REFERENCE)

    @property
    def store(self) -> str:
        """The secret store."""
        return self.secret.partition("/")[0]

    @property
    def key(self) -> str:
        """The key in the store."""
        return self.secret.partition("/")[2]


SecretName = Annotated[str, Field(pattern=f"^{NAME}$")]
Values = Mapping[str, str]
"""Secrets in clear, by the name of their placeholder."""


def placeholders(text: str) -> Iterator[str]:
    """The names that stand as `${name}` in a text."""
    return (found["name"] for found in _PLACEHOLDER.finditer(text) if not found["escape"])


def fill(text: str, values: Values) -> str:
    """A text with its secrets as they are."""
    return _filled(text, values, str)


def fill_url(url: str, values: Values) -> str:
    """A URL with its secrets percent-encoded, so that none of them begins another part of it."""
    return _filled(url, values, lambda value: quote(value, safe=""))


def fill_message(text: str, values: Values) -> str:
    """A message with its secrets: escaped as JSON has it, where the message is JSON."""
    return _filled(text, values, escaped if _is_json(text) else str)


def _filled(text: str, values: Values, encode: Callable[[str], str]) -> str:
    return _PLACEHOLDER.sub(lambda m: m[0][1:] if m["escape"] else encode(values[m["name"]]), text)


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def escaped(value: str) -> str:
    """A text as it stands between the quotes of a JSON string."""
    return orjson.dumps(value).decode()[1:-1]
