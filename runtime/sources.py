"""Where a dial gets what no record may hold, and what it takes along: secrets, and calls that tell them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from runtime.errors import NotFoundError, PermanentError
from runtime.guard.entries import Entry, read_entries, split_list
from runtime.models.secrets import SecretReference
from runtime.urls import Endpoint

_NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """TLS for one dial, in clear. PEM texts, None for the system's certificates and for no client certificate."""

    ca: str | None = field(default=None, repr=False)
    certificate: str | None = field(default=None, repr=False)
    key: str | None = field(default=None, repr=False)
    server_name: str | None = None
    minimum_version: str = "1.2"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy to ask for a tunnel; `authorization` in clear."""

    endpoint: Endpoint
    authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a dial takes along besides the connection's options, in clear. `tls`: None for the default."""

    headers: Mapping[str, str] = field(default_factory=lambda: _NOTHING, repr=False)
    tls: TlsMaterial | None = None
    proxy: Proxy | None = None


PLAIN = Handshake()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a prepare call came back with."""

    status: int
    body: bytes = field(repr=False)
    retry_after_s: float | None = None


class Secrets(Protocol):
    """A secret store."""

    async def secret(self, store: str, name: str) -> str:
        """One secret. Raises NotFoundError, TransientError."""


class Invoker(Protocol):
    """Calls methods of other apps."""

    async def invoke(self, app: str, method: str, body: bytes, timeout_s: float) -> Answer:
        """One call, answered by an HTTP status. Raises PermanentError, TransientError."""


class HttpCaller(Protocol):
    """Calls URLs by addresses that were checked."""

    async def post(
        self, url: str, addresses: tuple[str, ...], headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Answer:
        """POST JSON; no redirect is followed. Raises TransientError, and PermanentError for an answer too large."""


class NoSources:
    """Has no secrets and calls nobody."""

    async def secret(self, store: str, name: str) -> str:
        raise NotFoundError("there is no secret store here")

    async def invoke(self, app: str, method: str, body: bytes, timeout_s: float) -> Answer:
        raise PermanentError("a prepare call by app and method needs the profile dapr: give its url instead")

    async def post(
        self, url: str, addresses: tuple[str, ...], headers: Mapping[str, str], body: bytes, timeout_s: float
    ) -> Answer:
        raise PermanentError("nothing here can call a URL")


@dataclass(frozen=True, slots=True)
class SecretRule:
    """A secret that connections may refer to. `prefix`: of `store/key`; `is_open`: more may follow.

    `host`: the only one, or those below one, to which it may be sent.
    """

    prefix: str
    is_open: bool
    host: Entry | None

    def permits(self, reference: SecretReference, endpoint: Endpoint | None) -> bool:
        """Whether a secret may be sent there; `endpoint` is None where the receiver is no host."""
        named = reference.secret
        if not (named.startswith(self.prefix) if self.is_open else named == self.prefix):
            return False
        return self.host is None or (endpoint is not None and _is_at(endpoint, self.host))


def _is_at(endpoint: Endpoint, entry: Entry) -> bool:
    address = endpoint.address
    return entry.has_host(endpoint) or (address is not None and entry.has_address(address, endpoint.port))


def read_secret_rules(text: str) -> tuple[SecretRule, ...]:
    """A list of STORE/KEY, STORE/BEGINNING*, each with or without @HOST. Raises ValueError, which quotes none."""
    return tuple(_read_secret_rule(part, index) for index, part in enumerate(split_list(text), 1))


def _read_secret_rule(text: str, index: int) -> SecretRule:
    named, at, host = text.partition("@")
    store, slash, key = named.partition("/")
    if not (store and slash and key) or "*" in named[:-1] or bool(at) != bool(host):
        raise ValueError(f"entry {index} is neither STORE/KEY nor STORE/BEGINNING*, with or without @HOST")
    is_open = named.endswith("*")
    return SecretRule(named.removesuffix("*"), is_open, read_entries(host)[0] if at else None)


@dataclass(frozen=True, slots=True)
class Sources:
    """The secret store and the ways out of prepare calls, each with what may be asked of it.

    `apps`: APP/METHOD or APP/BEGINNING* that may be invoked. `cache_s`: how long a secret is used again.
    """

    secrets: Secrets = field(default_factory=NoSources)
    invoker: Invoker = field(default_factory=NoSources)
    http: HttpCaller = field(default_factory=NoSources)
    rules: tuple[SecretRule, ...] = ()
    apps: tuple[str, ...] = ()
    cache_s: float = 60
