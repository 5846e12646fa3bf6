"""Which addresses may be dialled: a table of our own, since `is_global` differs between releases of Python."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Sources: the IANA special-purpose address registries (RFC 6890 and its successors) and, for 168.63.129.16 and
# 100.100.100.200, the documentation of the clouds that serve metadata there.
_V4_RULES: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), rule)
    for network, rule in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared address space"),
        ("127.0.0.0/8", "loopback"),
        ("168.63.129.16/32", "cloud metadata"),
        ("169.254.0.0/16", "link-local and cloud metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "protocol assignments"),
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved and broadcast"),
    )
)
_V6_RULES: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), rule)
    for network, rule in (
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("64:ff9b:1::/48", "local-use NAT64"),
        ("100::/64", "discard-only"),
        ("2001::/23", "protocol assignments and Teredo"),
        ("2001:db8::/32", "documentation"),
        ("3fff::/20", "documentation"),
        ("5f00::/16", "segment routing"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
# IPv6 forms that carry an IPv4 address, and how far its last bit is from the right end.
_CARRIERS: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::/96"), 0),
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)
_PRIVATE_RULES = frozenset({"private", "loopback", "unique local", "shared address space", "benchmarking"})


def refusal(address: str, *, allow_private: bool) -> str | None:
    """The rule that refuses an address, None if it may be dialled.

    `allow_private` lifts only the rules for loopback and private networks; metadata, link-local and multicast stay
    refused. Raises ValueError if this is no address.
    """
    rule = _rule(ip_address(address.partition("%")[0]))
    return None if allow_private and rule in _PRIVATE_RULES else rule


def _rule(address: IPv4Address | IPv6Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((rule for network, rule in _V4_RULES if address in network), None)
    found = next((rule for network, rule in _V6_RULES if address in network), None)
    if found is not None:
        return found
    for carrier, shift in _CARRIERS:
        if address in carrier:
            return _rule(IPv4Address((int(address) >> shift) & 0xFFFF_FFFF))
    return None
