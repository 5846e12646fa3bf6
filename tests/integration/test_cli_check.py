"""`wsm check`: how a URL is read, what it resolves to, and which rule says what of it."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.adapters.check import check_url
from runtime.guard import Guard
from runtime.guard.entries import read_entries
from tests.dials import ChangingResolver
from tests.wsm import wsm

pytestmark = pytest.mark.integration
LOOPBACK = "loopback 127.0.0.0/8; --allow-private or --allow 127.0.0.1 permits it"


def test_a_refused_address_is_explained_step_by_step_without_the_secrets_of_the_url():
    refused = wsm("check", "wss://user:s3cret@0x7f.1:1/?key=s3cret")
    assert refused.code == 1
    assert refused.stdout.splitlines() == [
        "url         wss://***@0x7f.1:1/?key=***",
        "read as     wss to the address 127.0.0.1, port 1",
        f"address     127.0.0.1: refused, {LOOPBACK}",
    ]
    assert refused.stderr == f"error: the guard refuses 127.0.0.1: {LOOPBACK}\n"


def test_an_allowed_address_says_by_what():
    allowed = wsm("check", "ws://127.0.0.1:1/", "--allow-private")
    assert (allowed.code, allowed.stderr) == (0, "")
    assert allowed.stdout.splitlines()[2:] == [
        "address     127.0.0.1: allowed, loopback 127.0.0.0/8, permitted by --allow-private",
        "it may be dialled",
    ]
    assert wsm("check", "ws://8.8.8.8/").stdout.splitlines()[2] == "address     8.8.8.8: allowed, no rule refuses it"


def test_a_name_is_explained_with_each_of_its_addresses():
    refused = wsm("check", "ws://localhost:1/")
    assert refused.code == 1
    steps = refused.stdout.splitlines()
    assert steps[1:3] == [
        "read as     ws to the name localhost, port 1",
        "name        localhost: no list refuses it; its addresses decide",
    ]
    assert f"resolves to 127.0.0.1: refused, {LOOPBACK}" in steps[3:]
    assert wsm("check", "ws://localhost:1/", "--allow", "localhost").code == 0


def test_a_name_that_a_list_refuses_is_not_looked_up():
    denied = wsm("check", "ws://feed.invalid/", "--deny", "*.invalid")
    assert denied.code == 1
    assert denied.stdout.splitlines()[2:] == ["name        feed.invalid: refused, denied by --deny *.invalid"]
    assert denied.stderr == "error: the guard refuses feed.invalid: denied by --deny *.invalid\n"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://user:s3cret@127.0.0.1/", "url must start with ws:// or wss://"),
        ("ws://127.0.0.1:0/", "url names port 0, which cannot be dialled"),
        ("ws://nothing.invalid/", "the host name cannot be resolved"),
    ],
)
def test_what_cannot_be_read_or_resolved_is_refused_with_the_reason(url: str, reason: str):
    refused = wsm("check", url, "--allow-private")
    assert refused.code == 1
    assert refused.stderr.startswith(f"error: {reason}")
    assert "s3cret" not in refused.stdout + refused.stderr


def test_json_has_every_step_and_nothing_else_on_standard_output():
    refused = wsm("check", "ws://u:s3cret@[::ffff:169.254.169.254]/", "--allow-private", "--json")
    rule = "link-local and cloud metadata 169.254.0.0/16, by 169.254.169.254 in it (IPv4-mapped)"
    document = refused.json()
    (address,) = document.pop("addresses")
    assert address["allowed"] is False
    assert address["rule"] == f"{rule}; --allow 169.254.169.254 permits it"
    assert "s3cret" not in refused.stdout
    assert refused.code == 1
    assert {name: document[name] for name in ("allowed", "secure", "port", "hostRule")} == {
        "allowed": False,
        "secure": False,
        "port": 80,
        "hostRule": None,
    }
    allowed = wsm("check", "wss://127.0.0.1/a?b=c", "--allow", "127.0.0.1:443", "--json")
    assert allowed.code == 0
    assert allowed.json() == {
        "url": "wss://127.0.0.1/a?b=***",
        "allowed": True,
        "reason": "it may be dialled",
        "secure": True,
        "host": "127.0.0.1",
        "port": 443,
        "hostRule": None,
        "addresses": [
            {
                "address": "127.0.0.1",
                "allowed": True,
                "rule": "loopback 127.0.0.0/8, permitted by --allow 127.0.0.1:443",
            }
        ],
    }
    unread = wsm("check", "http://x", "--json").json()
    assert (unread["allowed"], unread["host"], unread["addresses"]) == (False, None, [])


def test_the_lists_are_those_of_the_environment_unless_options_say_otherwise():
    env: Any = {"WSM_ALLOW_PRIVATE": "1", "WSM_DENY": "127.0.0.2", "WSM_ALLOW_ONLY": "127.0.0.0/8"}
    assert wsm("check", "ws://127.0.0.1/", **env).code == 0
    assert "denied by --deny 127.0.0.2" in wsm("check", "ws://127.0.0.2/", **env).stderr
    assert "not in --allow-only" in wsm("check", "ws://8.8.8.8/", **env).stderr
    assert wsm("check", "ws://127.0.0.2/", "--deny", "127.0.0.3", **env).code == 0
    assert "loopback" in wsm("check", "ws://127.0.0.1/", "--no-allow-private", **env).stderr
    assert wsm("check", "ws://[64:ff9b:1::8.8.8.8]/", WSM_NAT64="64:ff9b:1::/96").code == 0


@pytest.mark.parametrize(
    ("args", "env", "said"),
    [
        (["--deny", "10.0.0.1/8"], {}, "--deny: '10.0.0.1/8' is no network"),
        ([], {"WSM_ALLOW": "0.0.0.0/0"}, "WSM_ALLOW: '0.0.0.0/0' is wider than what one rule of the guard refuses"),
    ],
)
def test_a_list_that_cannot_be_read_is_wrong_usage(args: list[str], env: Any, said: str):
    wrong = wsm("check", "ws://8.8.8.8/", *args, **env)
    assert (wrong.code, wrong.stdout) == (2, "")
    assert wrong.stderr.startswith(f"error: {said}")


async def test_of_several_addresses_each_is_told_and_the_first_refused_one_is_the_reason():
    resolver = ChangingResolver(["8.8.8.8", "10.0.0.1", "fd00::1"])
    result = await check_url("ws://feed.test./", Guard(False), resolver)
    assert resolver.asked == ["feed.test."]
    assert [(verdict.subject, verdict.is_allowed) for verdict in result.addresses] == [
        ("8.8.8.8", True),
        ("10.0.0.1", False),
        ("fd00::1", False),
    ]
    assert result.reason == (await check_url("ws://10.0.0.1/", Guard(False), resolver)).reason
    only = Guard(False, allow_only=read_entries("8.8.8.8:443"))
    assert not (await check_url("ws://feed.test/", only, ChangingResolver(["8.8.8.8"]))).is_allowed
    assert (await check_url("wss://feed.test/", only, ChangingResolver(["8.8.8.8"]))).is_allowed
    assert (
        await check_url("ws://feed.test/", Guard(True), ChangingResolver([]))
    ).reason == "the host name has no address"
