"""Reading and masking WebSocket URLs: what may be written in a command, and what may be shown to anyone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

MAX_URL_LENGTH = 8192
MASK = "***"
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f\\\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a URL leads, before any name is resolved. `host` has no brackets."""

    secure: bool
    host: str
    port: int


def parse_url(url: str) -> Endpoint:
    """Read a ws or wss URL (RFC 6455, section 3). Raises ValueError, whose text quotes no part of the URL."""
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"url is longer than {MAX_URL_LENGTH} characters")
    if _FORBIDDEN.search(url):
        raise ValueError("url holds a space, a backslash or a control character; encode it with %")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("url has a host or port that cannot be read; a port lies between 1 and 65535") from None
    if parts.scheme not in {"ws", "wss"}:
        raise ValueError("url must start with ws:// or wss://")
    if not parts.hostname:
        raise ValueError("url names no host")
    if port == 0:
        raise ValueError("url names port 0, which cannot be dialled")
    if "#" in url:
        raise ValueError("url has a fragment (#…), which RFC 6455 forbids; encode # as %23")
    _check_user_info(parts)
    _check_host(parts.hostname)
    secure = parts.scheme == "wss"
    return Endpoint(secure, parts.hostname, port or (443 if secure else 80))


def _check_user_info(parts: SplitResult) -> None:
    """User-info becomes an Authorization header (RFC 7617), which has a name and a password."""
    if parts.username is None:
        return
    if parts.password is None:
        raise ValueError("url has a user name without a password; write user:@host for an empty one")
    try:
        unquote(parts.username + parts.password, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("url has user-info that is not UTF-8 under its %-encoding") from None


def _check_host(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError:
        raise ValueError("url names a host that is no valid name: a label is empty, too long or not allowed") from None


def mask_url(url: str) -> str:
    """The URL with user-info and the values of query parameters replaced by `***`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return MASK
    netloc = parts.netloc
    if parts.scheme and not netloc:  # what stands before a host cannot be told from it
        return MASK
    if "@" in netloc:
        netloc = f"{MASK}@{netloc.rpartition('@')[2]}"
    masked = SplitResult(parts.scheme, netloc, parts.path, _mask_query(parts.query), "")
    return urlunsplit(masked)


def _mask_query(query: str) -> str:
    if not query:
        return ""
    fields = re.split("([&;])", query)
    return "".join(field if field in "&;" else _mask_field(field) for field in fields)


def _mask_field(field: str) -> str:
    name, equals, _ = field.partition("=")
    return f"{name}={MASK}" if equals else MASK
