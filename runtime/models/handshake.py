"""What a user may set for the handshake: headers, subprotocols, TLS, compression, a proxy, secrets, a prepare call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from typing_extensions import override

from runtime.models.secrets import MAX_SECRETS, SecretName, SecretReference, placeholders
from runtime.models.wire import WireModel
from runtime.urls import MASK, Endpoint, mask_url, parse_http_url, read_host

MAX_HEADERS, MAX_HEADER_BYTES, MAX_PEM_BYTES = 64, 8192, 65536
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_VALUE = re.compile(r"[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?")
_METHOD = r"^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*$"  # and no way up, as .. would be
# Hop by hop (RFC 9110, 7.6.1), framing, what the handshake itself writes, and what options of their own set.
_OWN = frozenset(
    {
        *("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "http2-settings"),
        *("content-length", "expect", "host", "origin", "user-agent"),
    }
)
_OWN_PREFIXES = ("sec-", "proxy-")
_SENSITIVE = re.compile(r"auth|token|key|secret|cookie|password|passwd|credential|signature|session", re.IGNORECASE)


def check_header(name: str, value: str) -> None:
    """Raises ValueError, which quotes the name if it is one, and never the value."""
    if not _TOKEN.fullmatch(name):
        raise ValueError("has a name that is no token of RFC 9110")
    lower = name.lower()
    if lower in _OWN or lower.startswith(_OWN_PREFIXES):
        raise ValueError(f"{name} belongs to the handshake itself; see the options subprotocols, origin and userAgent")
    check_value(value)


def check_value(value: str) -> None:
    """Raises ValueError, which does not quote it."""
    if len(value) > MAX_HEADER_BYTES:
        raise ValueError(f"a value is longer than {MAX_HEADER_BYTES} characters")
    if value and not _VALUE.fullmatch(value):
        raise ValueError("a value holds a line break, a control or other than ASCII characters, or a blank at an end")


def _masked(headers: dict[str, str | SecretReference]) -> dict[str, str | SecretReference]:
    return {
        name: _mask(value) if isinstance(value, str) and _SENSITIVE.search(name) else value
        for name, value in headers.items()
    }


def _mask(value: str) -> str:
    """Of a text that names a secret that is all that is shown."""
    named = [f"${{{name}}}" for name in placeholders(value)]
    return " ".join([MASK, *named]) if named else MASK


def _check_headers(headers: dict[str, str | SecretReference]) -> dict[str, str | SecretReference]:
    if len(headers) > MAX_HEADERS:
        raise ValueError(f"holds {len(headers)} headers; at most {MAX_HEADERS}")
    for name, value in headers.items():
        check_header(name, value if isinstance(value, str) else "")
    lower = [name.lower() for name in headers]
    twice = next((name for name in lower if lower.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"holds {twice} more than once")
    return headers


def _checked_value(value: str) -> str:
    check_value(value)
    return value


def _checked_token(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("must be a token of RFC 9110: no blanks, commas or quotes")
    return value


def _checked_url(value: str) -> str:
    parse_http_url(value)
    return value


def _checked_host(value: str) -> str:
    try:
        return read_host(value)[0]
    except ValueError as error:
        raise ValueError(f"names {error}") from None


def _checked_pem(value: str) -> str:
    if "-----BEGIN CERTIFICATE-----" not in value:
        raise ValueError("must be PEM: -----BEGIN CERTIFICATE----- and so on")
    return value


Value = Annotated[str, AfterValidator(_checked_value)]
Headers = Annotated[dict[str, str | SecretReference], AfterValidator(_check_headers)]
HttpUrl = Annotated[str, AfterValidator(_checked_url)]
Pem = Annotated[str, Field(max_length=MAX_PEM_BYTES), AfterValidator(_checked_pem)]


class TlsOptions(WireModel):
    """How a server is checked, and how we prove who we are. For wss only."""

    ca: Pem | SecretReference | None = Field(None, description="certificates (PEM) to trust instead of the system's")
    certificate: Pem | SecretReference | None = Field(
        None, description="ours (PEM), with those between it and its root"
    )
    key: SecretReference | None = Field(None, description="its private key (PEM, without a password); a secret only")
    server_name: Annotated[str, AfterValidator(_checked_host)] | None = Field(
        None, description="asked for and checked instead of the URL's host"
    )
    minimum_version: Literal["1.2", "1.3"] = Field("1.2", description="of TLS")

    @model_validator(mode="after")
    def _certificate_has_key(self) -> Self:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key need each other")
        return self


class ProxyOptions(WireModel):
    """An HTTP proxy that is asked to CONNECT. Nothing else makes us use one."""

    url: HttpUrl = Field(description="http://HOST:PORT")
    authorization: Value | SecretReference | None = Field(None, description="value of Proxy-Authorization")

    @model_validator(mode="after")
    def _plain_address(self) -> Self:
        scheme, _, rest = self.url.partition("://")
        if scheme != "http" or "@" in rest or rest.strip("/").count("/"):
            raise ValueError("url must be http://HOST:PORT; credentials go into authorization")
        return self


class PrepareOptions(WireModel):
    """A call before each dial that tells a fresh URL, headers or opening messages; by Dapr, or by HTTP."""

    app: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,128}$", description="app-id of a Dapr app")
    method: str | None = Field(None, max_length=512, pattern=_METHOD, description="the app's method")
    url: HttpUrl | None = Field(None, description="instead of app and method; the guard judges it too")
    headers: Headers = Field({}, description="of the call to url")
    timeout_s: float = Field(5, gt=0, le=60, description="wait for its whole answer")

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        if (self.url is None) != (self.app is not None and self.method is not None):
            raise ValueError("give either app and method, or url")
        if self.url is None and self.headers:
            raise ValueError("headers are for url only")
        return self


class HandshakeOptions(WireModel):
    """What a handshake carries, how the server is reached, and where that comes from."""

    headers: Headers = Field({}, description="of the handshake; a value is a text or a secret")
    subprotocols: tuple[Annotated[str, AfterValidator(_checked_token)], ...] = Field(
        (), max_length=16, description="offered, in this order; a server that picks another one is refused"
    )
    subprotocol_required: bool = Field(default=False, description="refuse a server that picks none of them")
    origin: Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_checked_value)] | None = Field(
        None, description="the Origin header"
    )
    user_agent: Annotated[str, Field(min_length=1, max_length=512), AfterValidator(_checked_value)] | None = Field(
        None, description="the User-Agent header; else the library's"
    )
    tls: TlsOptions | None = Field(None, description="for wss; else the system's certificates and TLS 1.2")
    permessage_deflate: bool = Field(
        default=False, description="offer compression (RFC 7692); maxMessageBytes bounds what a message unpacks to"
    )
    deflate_window_bits: int = Field(
        15, ge=9, le=15, description="its windows, 2 to the power of this in bytes; below 15 a server must agree"
    )
    proxy: ProxyOptions | None = Field(None, description="an HTTP proxy to reach the server by")
    secrets: dict[SecretName, SecretReference] = Field(
        {}, max_length=MAX_SECRETS, description="what stands as ${name} in url, headers and messages"
    )
    prepare: PrepareOptions | None = Field(None, description="a call before each dial")

    @override
    def __hash__(self) -> int:
        """Of equal options a host keeps one; not all that they hold has a hash."""
        return hash(tuple(value for value in self.__dict__.values() if isinstance(value, str | int | float)))

    @property
    def is_prepared(self) -> bool:
        """Whether a dial needs more than the URL."""
        return bool(self.headers or self.secrets or self.prepare or self.proxy or self.tls)

    @property
    @override
    def unknown_fields(self) -> list[str]:
        nested = {"tls": self.tls, "proxy": self.proxy, "prepare": self.prepare}
        inner = [f"{key}.{name}" for key, model in nested.items() if model for name in model.unknown_fields]
        return [*super().unknown_fields, *inner]

    @model_validator(mode="after")
    def _handshake_fits(self) -> Self:
        if self.subprotocol_required and not self.subprotocols:
            raise ValueError("subprotocolRequired without subprotocols")
        if len(set(self.subprotocols)) < len(self.subprotocols):
            raise ValueError("subprotocols holds one more than once")
        for text in self.texts():
            self.check_placeholders(text)
        return self

    def check_placeholders(self, text: str) -> None:
        """Raises ValueError for a `${name}` that `secrets` does not have, if it has any."""
        unknown = next((name for name in placeholders(text) if name not in self.secrets), None)
        if self.secrets and unknown is not None:
            raise ValueError(f"${{{unknown}}} is not among secrets; a text that looks so is written $${{{unknown}}}")

    def texts(self) -> Iterator[str]:
        """All in which placeholders are filled, save the URL."""
        values: list[object] = [*self.headers.values(), self.proxy.authorization if self.proxy is not None else None]
        if self.prepare is not None:
            values += [*self.prepare.headers.values(), self.prepare.url]
        return (value for value in values if isinstance(value, str))

    def endpoints(self) -> list[Endpoint]:
        """What is called besides the URL."""
        urls = (self.proxy.url if self.proxy is not None else None, self.prepare.url if self.prepare else None)
        return [parse_http_url(url) for url in urls if url is not None]

    def masked(self) -> Self:
        """As they are shown: without texts that may be secrets, written out against good advice."""
        changed: dict[str, object] = {"headers": _masked(self.headers)}
        proxy, prepare = self.proxy, self.prepare
        if proxy is not None and isinstance(proxy.authorization, str):
            changed["proxy"] = proxy.model_copy(update={"authorization": _mask(proxy.authorization)})
        if prepare is not None:
            url = mask_url(prepare.url) if prepare.url is not None else None
            changed["prepare"] = prepare.model_copy(update={"headers": _masked(prepare.headers), "url": url})
        return self.model_copy(update=changed)

    def references(self) -> Iterator[SecretReference]:
        """All secrets that a dial may need."""
        tls, proxy, prepare = self.tls, self.proxy, self.prepare
        values: list[object] = [*self.secrets.values(), *self.headers.values()]
        values += [tls.ca, tls.certificate, tls.key] if tls is not None else []
        values += [proxy.authorization] if proxy is not None else []
        values += prepare.headers.values() if prepare is not None else []
        return (value for value in values if isinstance(value, SecretReference))
