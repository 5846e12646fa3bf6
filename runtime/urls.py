"""Reading and masking WebSocket URLs: what may be written in a command, and what may be shown to anyone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from string import printable
from urllib.parse import SplitResult, quote, unquote, urlsplit, urlunsplit

MAX_URL_LENGTH = 8192
MAX_NAME_LENGTH = 253
MASK = "***"
_DEFAULT_PORTS = {False: 80, True: 443}
_UNREADABLE = "url has a host or port that cannot be read; a port lies between 1 and 65535"
_NO_NAME = "a host that is no valid name: a label is empty, too long or not allowed"
_ODD_NUMBER = "a host that ends in a number and is no IPv4 address"
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\\\ud800-\udfff]")
_HOST_AND_PORT = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[0-9]{0,5}))?")
_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")  # with _, as in the names that container networks give
_ENDS_IN_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)")
_NUMBER = re.compile(r"(?P<hex>0x[0-9a-f]+)|(?P<octal>0[0-7]*)|(?P<decimal>[1-9][0-9]*)")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a URL leads, before any name is resolved.

    `host` is a name in lower case and ASCII, or an address in its one usual spelling, without brackets. `is_absolute`:
    the name was written with a dot at its end, so that no search domain applies.
    """

    secure: bool
    host: str
    port: int
    is_absolute: bool = False

    @property
    def host_in_url(self) -> str:
        """The host as a URL has it: an IPv6 address in brackets."""
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def query_name(self) -> str:
        """What a resolver is asked for."""
        return f"{self.host}." if self.is_absolute else self.host

    @property
    def address(self) -> IPv4Address | IPv6Address | None:
        """The host, if it is an address; None for a name."""
        if ":" in self.host:
            return IPv6Address(self.host)
        return IPv4Address(self.host) if _ENDS_IN_NUMBER.fullmatch(self.host) else None


def parse_url(url: str) -> Endpoint:
    """Read a ws or wss URL (RFC 6455, section 3). Raises ValueError, whose text quotes no part of the URL."""
    if len(url) > MAX_URL_LENGTH:
        raise ValueError(f"url is longer than {MAX_URL_LENGTH} characters")
    if _FORBIDDEN.search(url):
        raise ValueError("url holds a space, a backslash or a control character; encode it with %")
    parts = _split(url)
    if parts.scheme not in {"ws", "wss"}:
        raise ValueError("url must start with ws:// or wss://")
    user_info, at, where = parts.netloc.rpartition("@")
    host, is_absolute, port = _read_where(where)
    if "#" in url:
        raise ValueError("url has a fragment (#…), which RFC 6455 forbids; encode # as %23")
    if at:
        _check_user_info(user_info)
    secure = parts.scheme == "wss"
    return Endpoint(secure, host, port or _DEFAULT_PORTS[secure], is_absolute)


def parse_http_url(url: str) -> Endpoint:
    """Read an http or https URL as `parse_url` does."""
    if not url.lower().startswith(("http://", "https://")):
        raise ValueError("url must start with http:// or https://")
    return parse_url("ws" + url[4:])


def has_user_info(url: str) -> bool:
    """Whether what `parse_url` has read becomes an Authorization header too."""
    return "@" in urlsplit(url).netloc


def read_host(text: str) -> tuple[str, bool]:
    """A host as `Endpoint` has it, and whether a dot was at its end. Raises ValueError, whose text ends a sentence.

    An IPv4 address may be spelt in every way that the system's resolver knows (inet_aton: octal, hexadecimal, fewer
    than four parts). What ends in a number and is no address is refused: resolvers differ in what they make of it.
    """
    if len(text) > MAX_NAME_LENGTH + 1:
        raise ValueError(_NO_NAME)
    name = text.lower() if text.isascii() else _to_ascii(text)
    is_absolute = name.endswith(".")
    name = name.removesuffix(".")
    if not name:
        raise ValueError("no host")
    if len(name) > MAX_NAME_LENGTH or not _NAME.fullmatch(name):
        raise ValueError(_NO_NAME)
    if not _ENDS_IN_NUMBER.fullmatch(name):
        return name, is_absolute
    address = _read_ipv4(name)
    if address is None:
        raise ValueError(_ODD_NUMBER)
    return str(address), False


def ascii_url(url: str, endpoint: Endpoint) -> str:
    """The URL as it goes into a handshake: with the host that was judged, so that no library reads another one."""
    parts = urlsplit(url)
    user_info, at, _ = parts.netloc.rpartition("@")
    port = "" if endpoint.port == _DEFAULT_PORTS[endpoint.secure] else f":{endpoint.port}"
    read = SplitResult(parts.scheme, f"{user_info}{at}{endpoint.host_in_url}{port}", parts.path, parts.query, "")
    return quote(urlunsplit(read), safe=printable)


def ascii_http_url(url: str, endpoint: Endpoint) -> str:
    """As `ascii_url`, for what `parse_http_url` has read."""
    return "http" + ascii_url("ws" + url[4:], endpoint)[2:]


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError(_UNREADABLE) from None


def _read_where(where: str) -> tuple[str, bool, int | None]:
    found = _HOST_AND_PORT.fullmatch(where)
    if found is None or int(found["port"] or 0) > 65535:
        raise ValueError(_UNREADABLE)
    port = int(found["port"]) if found["port"] else None
    if port == 0:
        raise ValueError("url names port 0, which cannot be dialled")
    if found["v6"] is not None:
        return str(_read_ipv6(found["v6"])), False, port
    try:
        host, is_absolute = read_host(found["name"])
    except ValueError as error:
        raise ValueError(f"url names {error}") from None
    return host, is_absolute, port


def _read_ipv6(text: str) -> IPv6Address:
    if "%" in text:
        raise ValueError("url names an address with a zone (%…), which is local to one machine")
    try:
        return IPv6Address(text)
    except ValueError:
        raise ValueError(_UNREADABLE) from None


def _to_ascii(name: str) -> str:
    """UTS-46, which also turns digits and dots of other scripts' widths and circles into plain ones."""
    import idna  # its tables cost 20 ms, and few names need them

    try:
        mapped = idna.uts46_remap(name)
        if mapped.isascii():
            return mapped
        encoded = idna.encode(mapped).decode()
    except idna.IDNAError:
        raise ValueError("a host that is no valid name under IDNA") from None
    last = mapped.removesuffix(".").rpartition(".")[2]
    if last.isdecimal() and not last.isascii():  # digits of another script, which some readers take for a number
        raise ValueError(_ODD_NUMBER)
    return encoded


def _read_ipv4(name: str) -> IPv4Address | None:
    numbers = [_read_number(part) for part in name.split(".")]
    heads, last = numbers[:-1], numbers[-1]
    if last is None or len(heads) > 3 or last >= 1 << 8 * (4 - len(heads)):
        return None
    for index, head in enumerate(heads):
        if head is None or head > 255:
            return None
        last += head << (24 - 8 * index)
    return IPv4Address(last)


def _read_number(text: str) -> int | None:
    found = _NUMBER.fullmatch(text)
    if found is None:
        return None
    return int(text, {"hex": 16, "octal": 8}.get(found.lastgroup or "", 10))


def _check_user_info(user_info: str) -> None:
    """User-info becomes an Authorization header (RFC 7617), which has a name and a password."""
    if "@" in user_info:  # readers differ in which one ends it
        raise ValueError("url has user-info with a bare @; encode it as %40")
    if "[" in user_info or "]" in user_info:  # readers differ in where a bracket may stand
        raise ValueError("url has user-info with a bare bracket; encode it as %5B or %5D")
    if ":" not in user_info:
        raise ValueError("url has a user name without a password; write user:@host for an empty one")
    try:
        unquote(user_info, errors="strict")
    except UnicodeDecodeError:
        raise ValueError("url has user-info that is not UTF-8 under its %-encoding") from None


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
