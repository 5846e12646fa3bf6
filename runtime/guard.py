"""Which addresses may be dialled: a table of our own, since `is_global` differs between releases of Python."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

# Sources: the IANA special-purpose address registries (RFC 6890 and its successors), the IANA IPv6 address space (only
# 2000::/3 is assigned for unicast), and the documentation of the clouds: Azure and Alibaba serve metadata outside
# link-local IPv4, AWS, Google and Oracle inside unique local IPv6. The first network that matches names the rule.
_V4_RULES: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), rule)
    for network, rule in (
        ("0.0.0.0/8", "this network"),
        ("10.0.0.0/8", "private"),
        ("100.100.100.200/32", "cloud metadata"),
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
        ("fd00:c1::a9fe:a9fe/128", "cloud metadata"),
        ("fd00:ec2::/32", "cloud metadata"),
        ("fd20:ce::254/128", "cloud metadata"),
        ("fc00::/7", "unique local"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)
_UNICAST = IPv6Network("2000::/3")
# IPv6 forms that carry an IPv4 address, and how far its last bit is from the right end: IPv4-compatible, IPv4-mapped,
# IPv4-translated (RFC 7915), NAT64 (RFC 6052) and 6to4 (RFC 3056). Each reaches what it carries.
_CARRIERS: tuple[tuple[IPv6Network, int], ...] = (
    (IPv6Network("::/96"), 0),
    (IPv6Network("::ffff:0:0/96"), 0),
    (IPv6Network("::ffff:0:0:0/96"), 0),
    (IPv6Network("64:ff9b::/96"), 0),
    (IPv6Network("2002::/16"), 80),
)
# ISATAP (RFC 5214) does so under any prefix: the last 64 bits are 0:5efe or 200:5efe and the IPv4 address to which a
# site with ISATAP tunnels. A chance match with a private address is next to impossible, so nothing is lost by refusing.
_ISATAP, _ISATAP_UNIVERSAL_BIT = 0x0000_5EFE, 0x0200_0000
_LIFTED_BY_ALLOW_PRIVATE = frozenset({"private", "loopback", "unique local", "shared address space", "benchmarking"})


@dataclass(frozen=True, slots=True)
class Guard:
    """The policy. `allow_private` lifts only the rules for loopback and private networks.

    Metadata, link-local and multicast addresses stay refused whatever is allowed.
    """

    allow_private: bool

    def refusal(self, address: str) -> str | None:
        """The rule that refuses an address, None if it may be dialled. Raises ValueError if this is no address."""
        rule = _rule(ip_address(address.partition("%")[0]))
        if rule is None or rule not in _LIFTED_BY_ALLOW_PRIVATE:
            return rule
        return None if self.allow_private else f"{rule} (--allow-private permits it)"

    def literal_refusal(self, host: str) -> str | None:
        """The rule that refuses a URL's host, if that is an IP address in plain spelling (IPv6 without brackets).

        None for a name, and for an odd spelling such as `0x7f.1`: that is judged when it is resolved.
        """
        try:
            return self.refusal(host)
        except ValueError:
            return None


def _rule(address: IPv4Address | IPv6Address) -> str | None:
    if isinstance(address, IPv4Address):
        return next((rule for network, rule in _V4_RULES if address in network), None)
    found = next((rule for network, rule in _V6_RULES if address in network), None)
    if found is not None:
        return found
    number = int(address)
    for carrier, shift in _CARRIERS:
        if address in carrier:
            return _rule(IPv4Address((number >> shift) & 0xFFFF_FFFF))
    if address not in _UNICAST:
        return "reserved"
    if (number >> 32) & 0xFFFF_FFFF & ~_ISATAP_UNIVERSAL_BIT == _ISATAP:
        return _rule(IPv4Address(number & 0xFFFF_FFFF))
    return None
