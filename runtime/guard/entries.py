"""What the lists of the guard hold: hosts and networks, each with or without ports."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address, ip_network
from typing import TypeVar

from runtime.guard.carriers import NAT64_LENGTHS, carries_only
from runtime.guard.ranges import RULES, Address, Network, Rule, is_within
from runtime.urls import Endpoint, read_host

T = TypeVar("T")
ANY = "*"
_ALL_PORTS = range(1, 65536)
_ENTRY = re.compile(
    r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<bare_v6>[^\[\]]*:[^\[\]]*:[^\[\]]*)|(?P<host>[^\[\]:]+))(?::(?P<ports>.*))?"
)
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Entry:
    """A host (`feed.example`, `*.example` for what is below it, `*` for all) or a network, and ports."""

    text: str
    host: str | None
    network: Network | None
    ports: range = _ALL_PORTS

    def has_host(self, endpoint: Endpoint) -> bool:
        """Whether it is about a URL by its host's name."""
        if self.host is None or endpoint.port not in self.ports:
            return False
        if self.host.startswith(ANY):
            return endpoint.host.endswith(self.host[1:])
        return endpoint.host == self.host

    def has_address(self, address: Address, port: int) -> bool:
        """Whether it is about an address."""
        if self.network is None or self.network.version != address.version or port not in self.ports:
            return False
        return address in self.network

    def lifts(self, rule: Rule) -> bool:
        """Whether it was meant for this rule: a wider network may have been written without a thought of it."""
        return self.network is not None and is_within(self.network, rule.network)


def split_list(text: str | None) -> list[str]:
    """The entries of a setting that is a list, with commas or blanks between them."""
    return (text or "").replace(",", " ").split()


def read_entries(text: str) -> tuple[Entry, ...]:
    """A list: entries with commas or blanks between them. Raises ValueError, which names the entry."""
    return _read_all(text, _read_entry)


def read_allowed(text: str) -> tuple[Entry, ...]:
    """A list of what is let through where a rule of the guard refuses. Raises ValueError as `read_entries` does."""
    return _read_all(text, _read_allowed)


def read_prefixes(text: str) -> tuple[IPv6Network, ...]:
    """Prefixes of NAT64 (RFC 6052). Raises ValueError, which names the entry."""
    return _read_all(text, _read_prefix)


def _read_all(text: str, read: Callable[[str], T]) -> tuple[T, ...]:
    found = []
    for index, part in enumerate(split_list(text), 1):
        if "://" in part or "@" in part:  # it may hold a secret: not repeated
            raise ValueError(f"entry {index} is a URL; give its host, or host:port")
        try:
            found.append(read(part))
        except ValueError as error:
            raise ValueError(f"'{part}' {error}") from None
    return tuple(found)


def _read_entry(text: str) -> Entry:
    found = _ENTRY.fullmatch(text)
    if found is None:
        raise ValueError("is neither a host nor a network, with or without :PORT")
    ports = _read_ports(found["ports"])
    v6 = found["v6"] or found["bare_v6"]
    if v6 is not None:
        return Entry(text, None, _read_network(v6), ports)
    host = found["host"]
    if "/" in host:
        return Entry(text, None, _read_network(host), ports)
    if host == ANY:
        return Entry(text, ANY, None, ports)
    below = ANY if host.startswith("*.") else ""
    try:
        name, _ = read_host(host[2:] if below else host)
    except ValueError as error:
        raise ValueError(f"names {error}") from None
    try:
        address = ip_address(name)
    except ValueError:
        return Entry(text, f"{below}.{name}" if below else name, None, ports)
    if below:
        raise ValueError("puts *. before an address; a network is written as 10.0.0.0/8")
    return Entry(text, None, ip_network(address), ports)


def _read_network(text: str) -> Network:
    if "%" in text:
        raise ValueError("names a zone, which is local to one machine")
    try:
        loose = ip_network(text, strict=False)
    except ValueError:
        raise ValueError("is no address or network") from None
    try:
        network = ip_network(text)
    except ValueError:
        raise ValueError(f"is no network: bits are set beyond its length; is {loose} meant?") from None
    if isinstance(network, IPv6Network) and carries_only(network):
        raise ValueError("only carries IPv4 addresses; name the IPv4 network, which is judged in all its forms")
    return network


def _read_ports(text: str | None) -> range:
    if text is None:
        return _ALL_PORTS
    found = _PORTS.fullmatch(text)
    first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    if not 1 <= first <= last <= 65535:
        raise ValueError("has no port between 1 and 65535, or range such as 8000-8999, after its colon")
    return range(first, last + 1)


def _read_allowed(text: str) -> Entry:
    entry = _read_entry(text)
    if entry.host == ANY:
        raise ValueError("would let every name through to private networks: say so by --allow-private")
    network = entry.network
    if network is None:
        return entry
    rule = next((rule for rule in RULES if is_within(network, rule.network)), None)
    if rule is not None and rule.is_fixed:
        raise ValueError("belongs to NAT64: name the prefix by --nat64")
    if rule is not None:
        return entry
    inner = next((rule.network for rule in RULES if is_within(rule.network, network)), None)
    if inner is None:
        raise ValueError("is allowed as it is; --allow-only refuses all that it does not name")
    raise ValueError(f"is wider than what one rule of the guard refuses: name the networks that you mean, as {inner}")


def _read_prefix(text: str) -> IPv6Network:
    network = _read_network(text)
    if not isinstance(network, IPv6Network) or network.prefixlen not in NAT64_LENGTHS:
        lengths = ", ".join(str(length) for length in NAT64_LENGTHS)
        raise ValueError(f"is no prefix of NAT64: an IPv6 network whose length is one of {lengths}")
    return network
