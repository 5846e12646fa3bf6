"""Which addresses lead to where nobody outside should: a table of our own, since `is_global` differs between releases.

Sources: the IANA special-purpose address registries (RFC 6890 and its successors), the IANA IPv6 address space (only
2000::/3 is assigned for unicast), and the documentation of the clouds: Azure and Alibaba serve metadata outside
link-local IPv4, AWS, Google and Oracle inside unique local IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from typing_extensions import override

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Rule:
    """A network that is refused. `is_private`: `--allow-private` lifts it, and so does a host that is allowed by name.

    `is_fixed`: no list lifts it.
    """

    network: Network
    name: str
    is_private: bool = False
    is_fixed: bool = False

    @override
    def __str__(self) -> str:
        return f"{self.name} {self.network}"


def _rules(*lines: tuple[str, str], is_private: frozenset[str], is_fixed: frozenset[str]) -> tuple[Rule, ...]:
    return tuple(Rule(ip_network(network), name, name in is_private, name in is_fixed) for network, name in lines)


# The first network that holds an address names the rule. What translators carry is not looked up here: see `carriers`.
RULES = _rules(
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private network"),
    ("100.100.100.200/32", "cloud metadata"),
    ("100.64.0.0/10", "carrier-grade NAT"),
    ("127.0.0.0/8", "loopback"),
    ("168.63.129.16/32", "cloud metadata"),
    ("169.254.0.0/16", "link-local and cloud metadata"),
    ("172.16.0.0/12", "private network"),
    ("192.0.0.0/24", "protocol assignments"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "6to4 relay"),
    ("192.168.0.0/16", "private network"),
    ("198.18.0.0/15", "benchmarking"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved and broadcast"),
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("64:ff9b:1::/48", "local-use NAT64"),
    ("100::/64", "discard-only"),
    ("2001::/32", "Teredo"),
    ("2001::/23", "protocol assignments"),
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
    ("::/3", "reserved"),
    ("4000::/2", "reserved"),
    ("8000::/1", "reserved"),
    is_private=frozenset({"private network", "loopback", "unique local", "carrier-grade NAT", "benchmarking"}),
    is_fixed=frozenset({"local-use NAT64"}),
)


def rule_of(address: Address) -> Rule | None:
    """The rule for an address itself, whatever it carries."""
    return next((rule for rule in RULES if address.version == rule.network.version and address in rule.network), None)


def is_within(inner: Network, outer: Network) -> bool:
    """Whether all of `inner` lies in `outer`."""
    if isinstance(inner, IPv4Network):
        return isinstance(outer, IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, IPv6Network) and inner.subnet_of(outer)
