"""The lists of the guard as settings: what they hold, and what is said of a wrong entry."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from runtime.guard import Guard
from runtime.guard.entries import read_allowed, read_entries, read_prefixes
from runtime.guard.ranges import RULES
from runtime.settings import GuardSettings, Settings
from tests.wsm import CLEAN


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch):
    for name in CLEAN:
        monkeypatch.delenv(name)


def test_without_lists_only_the_rules_of_the_guard_count():
    assert Settings().guard() == Guard(allow_private=False)
    assert Settings(allow_private=True).guard() == Guard(allow_private=True)


def test_each_list_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WSM_ALLOW", "10.0.0.0/8, feed.internal")
    monkeypatch.setenv("WSM_ALLOW_ONLY", "*.example:443\n10.0.0.0/8 ,")
    monkeypatch.setenv("WSM_DENY", "*:25")
    monkeypatch.setenv("WSM_NAT64", "2001:db8::/96")
    guard = Settings().guard()
    assert guard == Guard(
        False,
        read_allowed("10.0.0.0/8 feed.internal"),
        read_entries("*.example:443 10.0.0.0/8"),
        read_entries("*:25"),
        read_prefixes("2001:db8::/96"),
    )
    assert [len(entries) for entries in (guard.allow, guard.allow_only, guard.deny, guard.nat64)] == [2, 2, 1, 1]
    assert GuardSettings().guard() == guard


ENTRIES = [
    ("1.2.3.4/33", "'1.2.3.4/33' is no address or network"),
    ("1.2.3.4/8", "'1.2.3.4/8' is no network: bits are set beyond its length; is 1.0.0.0/8 meant?"),
    ("[fd00::1/8]", "is fd00::/8 meant?"),
    ("2001:db8::/129", "is no address or network"),
    ("fe80::1%eth0", "names a zone"),
    ("1.2.3.256", "names a host that ends in a number and is no IPv4 address"),
    ("feed..example", "names a host that is no valid name"),
    ("feed.*.example", "names a host that is no valid name"),
    ("*feed.example", "names a host that is no valid name"),
    ("*.", "names no host"),
    ("*.10.0.0.1", "puts *. before an address"),
    ("feed.example:0", "has no port between 1 and 65535"),
    ("feed.example:", "has no port between 1 and 65535"),
    ("feed.example:65536", "has no port between 1 and 65535"),
    ("feed.example:90-80", "has no port between 1 and 65535"),
    ("feed.example:http", "has no port between 1 and 65535"),
    ("[fd00::1]:x", "has no port between 1 and 65535"),
    ("[fd00::1", "is neither a host nor a network"),
    (":80", "is neither a host nor a network"),
    ("::ffff:10.0.0.1", "only carries IPv4 addresses; name the IPv4 network"),
    ("64:ff9b::/96", "only carries IPv4 addresses; name the IPv4 network"),
    ("10.0.0.1, wss://user:s3cret@feed.example/", "entry 2 is a URL; give its host, or host:port"),
    ("user:s3cret@feed.example", "entry 1 is a URL"),
]
ALLOWED = [
    ("*", "say so by --allow-private"),
    ("*:8080", "say so by --allow-private"),
    ("0.0.0.0/0", "is wider than what one rule of the guard refuses: name the networks that you mean, as 0.0.0.0/8"),
    ("10.0.0.0/7", "is wider than what one rule of the guard refuses: name the networks that you mean, as 10.0.0.0/8"),
    ("8.8.8.8", "is allowed as it is; --allow-only refuses all that it does not name"),
    ("2606:4700::/32", "is allowed as it is"),
    ("64:ff9b:1::/96", "belongs to NAT64: name the prefix by --nat64"),
]
PREFIXES = [
    ("10.0.0.0/8", "is no prefix of NAT64"),
    ("2001:db8::/80", "is no prefix of NAT64: an IPv6 network whose length is one of 32, 40, 48, 56, 64, 96"),
    ("nat64.example", "is no address or network"),
]


@pytest.mark.parametrize(
    ("setting", "text", "said"),
    [
        *((setting, *case) for setting in ("allow", "allow_only", "deny") for case in ENTRIES),
        *(("allow", *case) for case in ALLOWED),
        *(("nat64", *case) for case in PREFIXES),
    ],
)
def test_a_wrong_entry_is_named_with_what_is_wrong(setting: str, text: str, said: str):
    with pytest.raises(ValidationError) as wrong:
        Settings.model_validate({setting: text})
    (line,) = Settings.explain(wrong.value)
    assert line.startswith(f"WSM_{setting.upper()}: ")
    assert said in line
    assert "s3cret" not in line


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_every_rule_can_be_lifted_by_its_network_save_that_of_a_translator(rule):
    if rule.is_fixed:
        with pytest.raises(ValueError, match="--nat64"):
            read_allowed(str(rule.network))
    else:
        (entry,) = read_allowed(str(rule.network))
        assert entry.network == rule.network


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(1, 65535))
def test_a_network_is_read_as_python_writes_it_with_and_without_a_port(number, length, port):
    network = ip_network((number, length), strict=False)
    (alone,), (ported,) = read_entries(str(network)), read_entries(f"{network}:{port}")
    assert alone.network == ported.network == network
    assert (alone.ports, ported.ports) == (range(1, 65536), range(port, port + 1))


@given(st.text(max_size=40))
def test_whatever_is_written_is_read_or_refused_as_a_wrong_setting(text):
    for read in (read_entries, read_allowed, read_prefixes):
        with suppress(ValueError):
            assert len(read(text)) <= len(text)
