"""What may be dialled: the table, and every way in which IPv6 carries IPv4."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.guard import Guard

STRICT, LENIENT = Guard(allow_private=False), Guard(allow_private=True)

PUBLIC = ["93.184.215.14", "8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::200e"]
LIFTED = [
    "10.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
]
NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "169.254.169.254",
    "168.63.129.16",  # Azure, a public address
    "100.100.100.200",  # Alibaba, inside the shared address space that --allow-private permits
    "192.0.0.192",  # Oracle
    "192.0.2.1",
    "192.88.99.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "3fff::1",
    "5f00::1",
    "fe80::1",
    "fe80::a9fe:a9fe",
    "fec0::1",
    "ff02::1",
    "fd00:ec2::254",  # AWS, inside the unique local addresses that --allow-private permits
    "fd20:ce::254",  # Google
    "fd00:c1::a9fe:a9fe",  # Oracle
    "64:ff9b:1::1",  # local-use NAT64: what it reaches is up to the network
    "64:ff9b:1:ffff::808:808",
    "200::1",  # outside 2000::/3 nothing is assigned
    "4000::1",
    "::1:0:0:0",
]


def carriers(v4: str) -> dict[str, str]:
    """Every IPv6 form that reaches an IPv4 address."""
    number = int(IPv4Address(v4))
    low, high = number & 0xFFFF, number >> 16
    return {
        "IPv4-compatible": f"::{v4}",
        "IPv4-mapped": f"::ffff:{v4}",
        "IPv4-translated": f"::ffff:0:{v4}",
        "NAT64": f"64:ff9b::{v4}",
        "6to4": f"2002:{high:x}:{low:x}::1",
        "ISATAP": f"2606:4700::5efe:{v4}",
        "ISATAP, universal": f"2606:4700::200:5efe:{v4}",
    }


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address):
    assert STRICT.refusal(address) is None
    assert LENIENT.refusal(address) is None


@pytest.mark.parametrize("address", LIFTED)
def test_loopback_and_private_networks_are_refused_unless_allowed(address):
    assert "--allow-private permits it" in (STRICT.refusal(address) or "")
    assert LENIENT.refusal(address) is None


@pytest.mark.parametrize("address", NEVER)
def test_metadata_link_local_multicast_and_reserved_addresses_are_refused_whatever_is_allowed(address):
    assert STRICT.refusal(address) is not None
    assert LENIENT.refusal(address) == STRICT.refusal(address)
    assert "allow-private" not in (STRICT.refusal(address) or "")


@pytest.mark.parametrize("form", carriers("1.2.3.4"))
@pytest.mark.parametrize("v4", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16", "224.0.0.1", "8.8.8.8"])
def test_an_ipv6_form_is_judged_as_the_ipv4_address_that_it_reaches(form, v4):
    for guard in (STRICT, LENIENT):
        assert guard.refusal(carriers(v4)[form]) == guard.refusal(v4)


@pytest.mark.parametrize("address", ["64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::ffff:a9fe:a9fe"])
def test_metadata_in_the_disguises_that_is_global_lets_pass_is_refused(address):
    assert "metadata" in (LENIENT.refusal(address) or "")


@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(carriers("1.2.3.4"))))
def test_no_disguise_changes_the_verdict_on_any_ipv4_address(number, form):
    v4 = str(IPv4Address(number))
    if form == "IPv4-compatible" and number < 2:
        return  # :: and ::1 have rules of their own
    assert STRICT.refusal(carriers(v4)[form]) == STRICT.refusal(v4)
    assert LENIENT.refusal(carriers(v4)[form]) == LENIENT.refusal(v4)


@given(st.integers(0, 2**32 - 1))
def test_the_table_refuses_at_least_what_the_standard_library_calls_not_global(number):
    address = IPv4Address(number)
    if not address.is_global:
        assert STRICT.refusal(str(address)) is not None


@given(st.integers(0, 2**128 - 1))
def test_only_assigned_ipv6_unicast_and_what_carries_public_ipv4_may_be_dialled(number):
    address = IPv6Address(number)
    if STRICT.refusal(str(address)) is None:
        assert number >> 125 == 1 or number >> 32 in {0, 0xFFFF, 0xFFFF0000, 0x0064FF9B << 64}
    else:
        assert LENIENT.refusal(str(address)) is None or "allow-private" not in (STRICT.refusal(str(address)) or "")


def test_a_zone_id_changes_nothing():
    assert STRICT.refusal("fe80::1%eth0") == STRICT.refusal("fe80::1")
    assert STRICT.refusal("::1%lo") == STRICT.refusal("::1")
    assert STRICT.refusal("2606:4700::1111%eth0") is None


def test_what_is_no_address_is_an_error_and_never_an_approval():
    for text in ("", "localhost", "0x7f.1", "2130706433", "127.0.0.01"):
        with pytest.raises(ValueError, match="does not appear to be"):
            STRICT.refusal(text)


def test_a_literal_host_is_judged_at_once_and_a_name_when_it_is_resolved():
    assert "loopback" in (STRICT.literal_refusal("127.0.0.1") or "")
    assert "loopback" in (STRICT.literal_refusal("::1") or "")
    assert "metadata" in (LENIENT.literal_refusal("169.254.169.254") or "")
    assert STRICT.literal_refusal("93.184.215.14") is None
    for name in ("localhost", "0x7f.1", "2130706433", "127.0.0.01", "feed.example"):
        assert STRICT.literal_refusal(name) is None
