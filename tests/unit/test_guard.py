"""What may be dialled: the table, every way in which IPv6 carries IPv4, and the lists."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.guard import Guard
from runtime.guard.entries import read_allowed, read_entries, read_prefixes
from runtime.guard.ranges import RULES
from runtime.urls import Endpoint, parse_url
from tests.guard_urls import REFUSED
from tests.unit.spellings import CARRIERS, spellings, urls_of_carriers
from tests.unit.world import World
from tests.virtual_time import virtual_time

STRICT, LENIENT = Guard(allow_private=False), Guard(allow_private=True)
ANY = Endpoint(False, "feed.example", 80)

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
    "fd00::5efe:a9fe:a9fe",  # ISATAP to a metadata service, inside the unique local addresses
    "64:ff9b:1::1",  # local-use NAT64: what it reaches is up to the network
    "64:ff9b:1:ffff::808:808",
    "200::1",  # outside 2000::/3 nothing is assigned
    "4000::1",
    "::1:0:0:0",
]
V4_RULES = [rule for rule in RULES if rule.network.version == 4]
FORBIDDEN_V4 = st.sampled_from(V4_RULES).flatmap(
    lambda rule: st.integers(int(rule.network[0]), int(rule.network[-1])).map(IPv4Address)
)
ANY_V4 = st.integers(0, 2**32 - 1).map(IPv4Address)


def refusal(guard: Guard, address: str, endpoint: Endpoint = ANY) -> str | None:
    return guard.judge(endpoint, address).refusal


def rule(guard: Guard, address: str) -> str:
    """The verdict's reason without the address that it is about."""
    said = guard.judge(ANY, address).rule
    return said.partition(", by ")[0].partition(";")[0].partition(",")[0]


# ---- the table


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address):
    assert refusal(STRICT, address) is None
    assert refusal(LENIENT, address) is None


@pytest.mark.parametrize("address", LIFTED)
def test_loopback_and_private_networks_are_refused_unless_allowed(address):
    assert f"--allow-private or --allow {address} permits it" in str(refusal(STRICT, address))
    assert refusal(LENIENT, address) is None


@pytest.mark.parametrize("address", NEVER)
def test_metadata_link_local_multicast_and_reserved_addresses_are_refused_whatever_is_allowed(address):
    assert refusal(STRICT, address) is not None
    assert refusal(LENIENT, address) is not None
    assert "allow-private" not in str(refusal(LENIENT, address))


def test_a_refusal_names_the_rule_and_what_would_permit_it():
    assert refusal(STRICT, "10.1.2.3") == (
        "the guard refuses 10.1.2.3: private network 10.0.0.0/8; --allow-private or --allow 10.1.2.3 permits it"
    )
    assert refusal(LENIENT, "2002:a9fe:a9fe::1") == (
        "the guard refuses 2002:a9fe:a9fe::1: link-local and cloud metadata 169.254.0.0/16, by 169.254.169.254 in it "
        "(6to4); --allow 169.254.169.254 permits it"
    )


@given(ANY_V4)
def test_the_table_refuses_at_least_what_the_standard_library_calls_not_global(address):
    if not address.is_global:
        assert refusal(STRICT, str(address)) is not None


@given(st.integers(0, 2**128 - 1))
def test_only_assigned_ipv6_unicast_and_what_carries_public_ipv4_may_be_dialled(number):
    if refusal(STRICT, str(IPv6Address(number))) is None:
        assert number >> 125 == 1 or number >> 32 in {0, 0xFFFF, 0xFFFF0000, 0x0064FF9B << 64}


def test_a_zone_id_changes_nothing():
    assert rule(STRICT, "fe80::1%eth0") == rule(STRICT, "fe80::1")
    assert rule(STRICT, "::1%lo") == rule(STRICT, "::1")


def test_what_is_no_address_is_an_error_and_never_an_approval():
    for text in ("", "localhost", "0x7f.1", "2130706433", "127.0.0.01"):
        with pytest.raises(ValueError, match="does not appear to be"):
            STRICT.judge(ANY, text)


# ---- every form and spelling


@pytest.mark.parametrize("form", CARRIERS)
@pytest.mark.parametrize("v4", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16", "224.0.0.1", "8.8.8.8"])
def test_an_ipv6_form_is_judged_as_the_ipv4_address_that_it_reaches(form, v4):
    address = CARRIERS[form](IPv4Address(v4))
    for guard in (STRICT, LENIENT):
        assert (refusal(guard, address) is None) == (refusal(guard, v4) is None)
        assert rule(guard, address) == rule(guard, v4)


@given(ANY_V4, st.sampled_from(sorted(CARRIERS)))
def test_no_disguise_changes_the_verdict_on_any_ipv4_address(v4, form):
    if form == "IPv4-compatible" and int(v4) < 2:
        return  # :: and ::1 have rules of their own
    for guard in (STRICT, LENIENT):
        assert rule(guard, CARRIERS[form](v4)) == rule(guard, str(v4))


@given(FORBIDDEN_V4, st.data())
def test_a_forbidden_ipv4_address_is_refused_in_every_spelling_and_in_every_form_of_ipv6(v4, data):
    url = data.draw(st.one_of(spellings(v4).map("ws://{}:8080/".format), urls_of_carriers(v4)))
    verdict = STRICT.judge_host(parse_url(url))
    assert verdict is not None, url
    assert verdict.refusal is not None, url


@given(ANY_V4, st.data())
def test_a_spelling_changes_the_verdict_on_no_ipv4_address(v4, data):
    verdict = STRICT.judge_host(parse_url(f"ws://{data.draw(spellings(v4))}/"))
    assert verdict is not None
    assert (verdict.subject, verdict.refusal) == (str(v4), refusal(STRICT, str(v4)))


@virtual_time
async def test_a_url_of_the_list_that_names_an_address_or_cannot_be_read_is_rejected_at_the_command():
    world, taken = World(), []
    for template, reason in REFUSED:
        url = template.replace("PORT", "8080")
        outcome = await world.command("connect", id="a", url=url)
        if outcome["status"] == "rejected":
            assert reason in outcome["reason"], url
        else:
            taken.append(parse_url(url))
            await world.command("disconnect", id="a")
    assert taken
    assert [endpoint for endpoint in taken if endpoint.address is not None] == []


def test_a_literal_host_is_judged_at_once_and_a_name_when_it_is_resolved():
    assert STRICT.judge_host(parse_url("ws://feed.example/")) is None
    assert STRICT.judge_host(parse_url("ws://localhost/")) is None
    public = STRICT.judge_host(parse_url("ws://93.184.215.14/"))
    assert public is not None
    assert (public.refusal, public.rule) == (None, "no rule refuses it")


# ---- the lists


def guard(*, allow: str = "", only: str = "", deny: str = "", nat64: str = "", private: bool = False) -> Guard:
    return Guard(private, read_allowed(allow), read_entries(only), read_entries(deny), read_prefixes(nat64))


def says(policy: Guard, url: str, *addresses: str) -> str | None:
    """The first refusal of a dial; None if it may go out. `addresses`: what the name resolves to."""
    endpoint = parse_url(url)
    host = policy.judge_host(endpoint)
    verdicts = [host] if host is not None else [policy.judge(endpoint, address) for address in addresses]
    return next((verdict.refusal for verdict in verdicts if verdict.refusal is not None), None)


@pytest.mark.parametrize(
    ("allow", "url", "addresses", "passes"),
    [
        ("10.1.0.0/16", "ws://10.1.2.3/", [], True),
        ("10.1.0.0/16", "ws://10.2.0.0/", [], False),
        ("10.1.0.0/16", "ws://feed.example/", ["10.1.2.3"], True),
        ("10.1.0.0/16", "ws://feed.example/", ["10.1.2.3", "10.2.0.1"], False),
        ("10.1.0.0/16", "ws://[::ffff:10.1.2.3]/", [], True),
        ("10.1.0.0/16", "ws://[64:ff9b::10.2.2.3]/", [], False),
        ("10.1.2.3", "ws://10.1.2.3:9/", [], True),
        ("10.1.2.3:8080", "ws://10.1.2.3:8080/", [], True),
        ("10.1.2.3:8080", "ws://10.1.2.3:8081/", [], False),
        ("10.1.2.3:8000-8999", "ws://10.1.2.3:8999/", [], True),
        ("10.1.2.3:8000-8999", "ws://10.1.2.3:9000/", [], False),
        ("[fd00::1]:443", "wss://[fd00::1]/", [], True),
        ("[fd00::1]:443", "ws://[fd00::1]/", [], False),
        ("fd00::/8", "ws://[fd12::1]/", [], True),
        ("fd00::/8", "ws://[fd00:ec2::254]/", [], False),  # metadata has a rule of its own
        ("100.64.0.0/10", "ws://100.64.0.1/", [], True),
        ("100.64.0.0/10", "ws://100.100.100.200/", [], False),
        ("100.100.100.200", "ws://100.100.100.200/", [], True),
        ("169.254.169.254", "ws://169.254.169.254/", [], True),
        ("169.254.169.254", "ws://feed.example/", ["169.254.169.254"], True),
        ("::1", "ws://[::1]/", [], True),
        ("feed.internal", "ws://feed.internal/", ["10.0.0.1", "127.0.0.1"], True),
        ("feed.internal", "ws://FEED.internal./", ["10.0.0.1"], True),
        ("feed.internal", "ws://other.internal/", ["10.0.0.1"], False),
        ("feed.internal", "ws://x.feed.internal/", ["10.0.0.1"], False),
        ("feed.internal", "ws://10.0.0.1/", [], False),
        ("feed.internal", "ws://feed.internal/", ["169.254.169.254"], False),  # no name leads to metadata
        ("feed.internal", "ws://feed.internal/", ["10.0.0.1", "fe80::1"], False),
        ("feed.internal:8080", "ws://feed.internal:8081/", ["10.0.0.1"], False),
        ("*.internal", "ws://a.b.internal/", ["10.0.0.1"], True),
        ("*.internal", "ws://internal/", ["10.0.0.1"], False),
        ("*.internal", "ws://evilinternal/", ["10.0.0.1"], False),
        ("bücher.internal", "ws://xn--bcher-kva.internal/", ["10.0.0.1"], True),
        ("10.1.0.0/16 , feed.internal\n192.168.0.1", "ws://192.168.0.1/", [], True),
    ],
)
def test_what_is_allowed_is_dialled_although_a_rule_refuses_it_and_nothing_else(allow, url, addresses, passes):
    assert says(guard(), url, *addresses) is not None
    assert (says(guard(allow=allow), url, *addresses) is None) is passes


@pytest.mark.parametrize(
    ("deny", "url", "addresses"),
    [
        ("feed.example", "ws://feed.example/", ["8.8.8.8"]),
        ("feed.example", "wss://Feed.Example.:1/", ["8.8.8.8"]),
        ("*.example", "ws://a.feed.example/", ["8.8.8.8"]),
        ("*.bücher.example", "ws://a.xn--bcher-kva.example/", ["8.8.8.8"]),
        ("*", "ws://feed.example/", ["8.8.8.8"]),
        ("*:80", "ws://feed.example/", ["8.8.8.8"]),
        ("*:1-1023", "ws://8.8.8.8:25/", []),
        ("8.8.8.8", "ws://feed.example/", ["8.8.8.8"]),
        ("8.8.8.8", "ws://0x8080808/", []),
        ("8.8.8.0/24", "ws://feed.example/", ["1.1.1.1", "8.8.8.8"]),
        ("8.8.8.0/24:80", "ws://8.8.8.8/", []),
        ("8.8.8.0/24", "ws://[::ffff:8.8.8.8]/", []),
        ("8.8.8.0/24", "ws://[64:ff9b::808:808]/", []),
        ("8.8.8.0/24", "ws://[2002:808:808::1]/", []),
        ("8.8.8.0/24", "ws://[2606:4700::5efe:808:808]/", []),
        ("2606:4700::/32", "ws://[2606:4700::1111]/", []),
        ("64:ff9b::/64", "ws://[64:ff9b::808:808]/", []),
    ],
)
def test_what_is_denied_is_not_dialled_whatever_is_allowed(deny, url, addresses):
    assert says(guard(), url, *addresses) is None
    said = says(guard(deny=f"192.0.2.1, {deny}", only="*", private=True), url, *addresses)
    assert str(said).endswith(f"denied by --deny {deny}")


def test_deny_wins_over_allow_and_other_ports_hosts_and_addresses_pass():
    policy = guard(allow="10.0.0.0/8", deny="10.9.0.0/16, *:25, *.feed.example, feed.example:8000-8999")
    assert "denied" in str(says(policy, "ws://10.9.0.1/"))
    assert says(policy, "ws://10.8.0.1/") is None
    assert "denied" in str(says(policy, "ws://8.8.8.8:25/"))
    assert says(policy, "ws://8.8.8.8:26/") is None
    assert "denied" in str(says(policy, "ws://a.feed.example/", "8.8.8.8"))
    assert says(policy, "ws://feed.example:7999/", "8.8.8.8") is None
    assert says(policy, "ws://feed.example:9000/", "8.8.8.8") is None


@pytest.mark.parametrize(
    ("url", "addresses", "passes"),
    [
        ("ws://feed.example/", ["8.8.8.8"], True),
        ("ws://a.exchange.example:443/", ["8.8.8.8"], True),
        ("ws://a.exchange.example/", ["8.8.8.8"], False),
        ("ws://other.example/", ["8.8.8.8"], False),
        ("ws://other.example/", ["93.184.215.14"], True),
        ("ws://other.example/", ["93.184.215.14", "8.8.8.8"], False),
        ("ws://93.184.0.1/", [], True),
        ("ws://[::ffff:93.184.0.1]/", [], True),
        ("ws://[64:ff9b::93.184.0.1]/", [], True),
        ("ws://[2002:5db8:1::1]/", [], False),  # 6to4 goes by way of this address, not to it
        ("ws://8.8.8.8/", [], False),
        ("ws://feed.example/", ["10.0.0.1"], False),  # it is named, and still private
    ],
)
def test_with_allow_only_nothing_else_is_dialled_and_every_rule_still_holds(url, addresses, passes):
    policy = guard(only="feed.example, *.exchange.example:443, 93.184.0.0/16")
    assert (says(policy, url, *addresses) is None) is passes


def test_with_allow_only_names_another_name_is_refused_before_it_is_looked_up():
    said = says(guard(only="feed.example:443"), "wss://other.example/")
    assert said == "the guard refuses other.example: with port 443 it is not in --allow-only"
    assert "port 80 it is not" in str(says(guard(only="feed.example:443"), "ws://feed.example/"))


# RFC 6052, 2.4: where each length of prefix has 192.0.2.33; here a private and a public address.
@pytest.mark.parametrize(
    ("prefix", "private", "public"),
    [
        ("2001:db8::/32", "2001:db8:a00:21::", "2001:db8:808:808::"),
        ("2001:db8:100::/40", "2001:db8:10a:0:21::", "2001:db8:108:808:8::"),
        ("2001:db8:122::/48", "2001:db8:122:a00:0:2100::", "2001:db8:122:808:8:800::"),
        ("2001:db8:122:300::/56", "2001:db8:122:30a:0:21::", "2001:db8:122:308:8:808::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:a:0:2100::", "2001:db8:122:344:8:808:800::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::10.0.0.33", "2001:db8:122:344::8.8.8.8"),
        ("64:ff9b:1::/48", "64:ff9b:1:a00:0:2100::", "64:ff9b:1:808:8:800::"),
        ("64:ff9b:1:fffe::/96", "64:ff9b:1:fffe::10.0.0.33", "64:ff9b:1:fffe::8.8.8.8"),
        ("2606:4700:64::/96", "2606:4700:64::10.0.0.33", "2606:4700:64::8.8.8.8"),
    ],
)
def test_a_prefix_of_nat64_that_is_named_is_judged_as_the_ipv4_address_that_it_carries(prefix, private, public):
    policy = guard(nat64=prefix)
    assert f"private network 10.0.0.0/8, by 10.0.0.33 in it (NAT64 {prefix})" in str(refusal(policy, private))
    assert refusal(policy, public) is None
    assert refusal(guard(nat64=prefix, allow="10.0.0.33"), private) is None
    assert "denied" in str(refusal(guard(nat64=prefix, deny="8.8.8.8"), public))


def test_teredo_and_isatap_that_are_allowed_still_lead_to_no_forbidden_address():
    policy = guard(allow="2001::/32 fd00::/8")
    good_client, private_client = "f7f7:f7f7", "f5ff:fffe"  # 8.8.8.8 and 10.0.0.1, inverted
    assert refusal(policy, f"2001:0:808:808:0:0:{good_client}") is None
    assert "10.0.0.1 in it (its Teredo client)" in str(refusal(policy, f"2001:0:808:808:0:0:{private_client}"))
    assert "10.0.0.1 in it (its Teredo server)" in str(refusal(policy, f"2001:0:a00:1:0:0:{good_client}"))
    assert refusal(policy, "fd00::5efe:8.8.8.8") is None
    assert "10.0.0.1 in it (ISATAP)" in str(refusal(policy, "fd00::5efe:10.0.0.1"))


def test_an_allowed_address_says_by_which_setting():
    endpoint = parse_url("ws://feed.internal/")
    assert guard(allow="feed.internal").judge(endpoint, "10.0.0.1").rule == (
        "private network 10.0.0.0/8, permitted by --allow feed.internal"
    )
    assert guard(private=True).judge(endpoint, "::ffff:10.0.0.1").rule == (
        "private network 10.0.0.0/8, by 10.0.0.1 in it (IPv4-mapped), permitted by --allow-private"
    )
