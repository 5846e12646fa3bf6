"""IPv6 addresses that carry IPv4 addresses, and so reach them or something beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network

from runtime.guard.ranges import Address

# Where RFC 6052, 2.2 puts the 32 bits, for each length of prefix; bits 64 to 71 stay free.
NAT64_LENGTHS = (32, 40, 48, 56, 64, 96)
# Whoever dials one of these reaches the IPv4 address in its last 32 bits: RFC 4291, RFC 7915, RFC 6052.
_TRANSLATED = (
    ("IPv4-compatible", IPv6Network("::/96")),
    ("IPv4-mapped", IPv6Network("::ffff:0:0/96")),
    ("IPv4-translated", IPv6Network("::ffff:0:0:0/96")),
    ("NAT64", IPv6Network("64:ff9b::/96")),
)
_6TO4, _TEREDO = IPv6Network("2002::/16"), IPv6Network("2001::/32")  # RFC 3056, RFC 4380
# ISATAP (RFC 5214) under any prefix: the last 64 bits are 0:5efe or 200:5efe and the IPv4 address to which a site
# tunnels. A chance match with a private address is next to impossible, so nothing is lost by refusing.
_ISATAP, _ISATAP_UNIVERSAL_BIT = 0x0000_5EFE, 0x0200_0000
_32_BITS = 0xFFFF_FFFF


@dataclass(frozen=True, slots=True)
class Carried:
    """An IPv4 address in an IPv6 address. `is_destination`: it alone is what one reaches by dialling the other."""

    address: IPv4Address
    form: str
    is_destination: bool = False


def carried(address: Address, nat64: Sequence[IPv6Network]) -> list[Carried]:
    """Every IPv4 address in an address. `nat64`: further prefixes of translators."""
    if not isinstance(address, IPv6Address) or int(address) <= 1:  # unspecified, loopback
        return []
    return list(_carried(address, nat64))


def carries_only(network: IPv6Network) -> bool:
    """Whether nothing in a network is reached but the IPv4 addresses in it."""
    return int(network[-1]) > 1 and any(network.subnet_of(prefix) for _, prefix in _TRANSLATED)


def _carried(address: IPv6Address, nat64: Sequence[IPv6Network]) -> Iterator[Carried]:
    number = int(address)
    for form, prefix in _TRANSLATED:
        if address in prefix:
            yield Carried(_low(number), form, is_destination=True)
    for prefix in nat64:
        if address in prefix:
            yield Carried(_in_nat64(number, prefix.prefixlen), f"NAT64 {prefix}", is_destination=True)
    if address in _6TO4:
        yield Carried(_low(number >> 80), "6to4")
    if address in _TEREDO:
        yield Carried(_low(number >> 64), "its Teredo server")
        yield Carried(_low(~number), "its Teredo client")
    if number >> 32 & _32_BITS & ~_ISATAP_UNIVERSAL_BIT == _ISATAP:
        yield Carried(_low(number), "ISATAP")


def _in_nat64(number: int, prefix_length: int) -> IPv4Address:
    if prefix_length == 96:
        return _low(number)
    without_free_bits = number >> 64 << 56 | number & (1 << 56) - 1
    return _low(without_free_bits >> 120 - prefix_length - 32)


def _low(number: int) -> IPv4Address:
    return IPv4Address(number & _32_BITS)
