"""A network policy keeps from pods what the guard refuses."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_network

from deploy.verify.documents import Document
from deploy.verify.problems import Problem
from runtime.guard.ranges import RULES, Network, is_within

KIND = "networking.k8s.io/v1/NetworkPolicy"
WIDE = 8  # a prefix this long or shorter is the Internet rather than a network of one's own


def check(document: Document) -> Iterator[Problem]:
    """Blocks of addresses that are open to pods although the guard refuses to dial them."""
    if document.kind != KIND:
        return
    for number, rule in enumerate(document.data.get("spec", {}).get("egress", [])):
        for place, peer in enumerate(rule.get("to", [])):
            block = peer.get("ipBlock")
            if not block or (outer := ip_network(block["cidr"])).prefixlen > WIDE:
                continue
            excepted = [ip_network(each) for each in block.get("except", [])]
            for refused in RULES:
                if is_within(refused.network, outer) and not _is_covered(refused.network, excepted):
                    keys = ("spec", "egress", number, "to", place, "ipBlock", "except")
                    yield document.problem(keys, f"lacks {refused}, which the guard refuses")


def _is_covered(network: Network, excepted: list[Network]) -> bool:
    return any(is_within(network, each) for each in excepted)
