"""URLs: what is refused at the command, and what is never shown."""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.uri import parse_uri

from runtime.urls import MAX_URL_LENGTH, Endpoint, ascii_url, mask_url, parse_url

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NUMBER = st.integers(0, 2**33) | st.integers(0, 300)
PART = st.one_of(NUMBER.map(str), NUMBER.map("0x{:x}".format), NUMBER.map("0{:o}".format), NUMBER.map("0X{:X}".format))
WORD = st.text("abcXYZ019-._~", min_size=1, max_size=12)


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("ws://feed.example", Endpoint(False, "feed.example", 80)),
        ("wss://feed.example/a?b=c", Endpoint(True, "feed.example", 443)),
        ("WSS://Feed.Example:8443", Endpoint(True, "feed.example", 8443)),
        ("ws://[2606:4700::1111]:81/", Endpoint(False, "2606:4700::1111", 81)),
        ("wss://user:pass@feed.example/", Endpoint(True, "feed.example", 443)),
        ("wss://user:@feed.example/", Endpoint(True, "feed.example", 443)),
        ("ws://bücher.example/größe", Endpoint(False, "xn--bcher-kva.example", 80)),
        ("ws://faß.example", Endpoint(False, "xn--fa-hia.example", 80)),
        ("ws://Feed。Example./", Endpoint(False, "feed.example", 80, is_absolute=True)),
        ("ws://my_service:8080/", Endpoint(False, "my_service", 8080)),
        ("ws://0x7f.1/", Endpoint(False, "127.0.0.1", 80)),
        ("ws://①②⑦.0.0.1./", Endpoint(False, "127.0.0.1", 80)),
        ("ws://[2606:4700:0::1111]/", Endpoint(False, "2606:4700::1111", 80)),
        ("ws://1.2.3.example/", Endpoint(False, "1.2.3.example", 80)),
        ("ws://1e2/", Endpoint(False, "1e2", 80)),
        ("ws://feed.example:/", Endpoint(False, "feed.example", 80)),
    ],
)
def test_a_websocket_url_is_read(url, endpoint):
    assert parse_url(url) == endpoint


def test_a_host_is_an_address_or_what_a_resolver_is_asked_for():
    assert parse_url("ws://0x7f.1/").address == IPv4Address("127.0.0.1")
    assert parse_url("ws://[::1]/").address == IPv6Address("::1")
    named = parse_url("ws://Feed.Example./")
    assert (named.address, named.host, named.query_name) == (None, "feed.example", "feed.example.")
    assert parse_url("ws://feed.example/").query_name == "feed.example"


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://feed.example/", "must start with ws:// or wss://"),
        ("feed.example", "must start with ws:// or wss://"),
        ("ws:feed.example", "names no host"),
        ("ws:///path", "names no host"),
        ("ws://:80/", "names no host"),
        ("ws://feed.example:0/", "port 0"),
        ("ws://feed.example:65536/", "cannot be read"),
        ("ws://feed.example:x/", "cannot be read"),
        ("ws://[::1/", "cannot be read"),
        ("ws://feed.example/#x", "fragment"),
        ("ws://feed.example/#", "fragment"),
        ("ws://feed.example/a b", "a space"),
        ("ws://feed.example/\r\nHost: other", "control character"),
        ("ws://feed.example\\@other/", "backslash"),
        ("ws://feed.example/\ud800", "control character"),
        ("ws://secret@feed.example/", "user name without a password"),
        ("ws://@feed.example/", "user name without a password"),
        ("ws://secret:a@b@feed.example/", "bare @"),
        ("ws://[::1]secret@feed.example/", "bare bracket"),
        ("ws://secret:x@[fe80::1%eth0]/", "zone"),
        ("ws://secret:x@127.0.0.256/", "ends in a number"),
        ("ws://secret:%ff@feed.example/", "not UTF-8"),
        ("ws://feed..example/", "no valid name"),
        (f"ws://{'a' * 64}.example/", "no valid name"),
        ("ws://feed.example/" + "a" * MAX_URL_LENGTH, "longer than"),
    ],
)
def test_a_url_that_cannot_be_dialled_is_refused_with_the_reason_and_without_its_secrets(url, reason):
    with pytest.raises(ValueError, match=reason) as refused:
        parse_url(url)
    assert "secret" not in str(refused.value)


@given(st.one_of(TEXT, TEXT.map("ws://{}".format), st.tuples(TEXT, TEXT).map("wss://{0[0]}@{0[1]}/".format)))
def test_what_is_read_can_be_put_into_a_handshake_and_leads_to_the_same_place(url):
    try:
        endpoint = parse_url(url)
    except ValueError:
        return
    theirs = parse_uri(ascii_url(url, endpoint))
    assert (endpoint.secure, endpoint.port, endpoint.host) == (theirs.secure, theirs.port, theirs.host)
    assert theirs.resource_name.isascii()


@given(st.text("0123456789abcdefxX.", min_size=1, max_size=20) | st.lists(PART, min_size=1, max_size=5).map(".".join))
def test_what_the_system_takes_for_an_ipv4_address_is_read_as_that_address_or_not_at_all(text):
    """And what it does not take for one is a name, never an address: so nothing is judged but what is dialled."""
    try:
        host = parse_url(f"ws://{text}/").host
    except ValueError:
        return
    try:
        system = socket.inet_ntoa(socket.inet_aton(text.removesuffix(".")))
    except OSError:
        system = text.lower().removesuffix(".")
    assert host == system


@pytest.mark.parametrize("text", ["127.0.0.1", "0x7f.1", "0177.1", "2130706433", "127.256", "0", "037777777777"])
def test_every_spelling_of_the_system_is_read(text):
    assert parse_url(f"ws://{text}/").host == socket.inet_ntoa(socket.inet_aton(text))


@pytest.mark.parametrize(
    ("url", "dialled"),
    [
        ("WSS://Feed.Example:443/a?b=c", "wss://feed.example/a?b=c"),
        ("wss://feed.example:80/a", "wss://feed.example:80/a"),
        (
            "ws://user:p%40ss@bücher.example./größe%20x?ü=%C3%BC",
            "ws://user:p%40ss@xn--bcher-kva.example/gr%C3%B6%C3%9Fe%20x?%C3%BC=%C3%BC",
        ),
        ("ws://0x7f.1:81?a", "ws://127.0.0.1:81?a"),
        ("ws://[::FFFF:7f00:1]:81/", f"ws://[{IPv6Address('::ffff:7f00:1')}]:81/"),
        ("ws://feed.example//a/../b;c?d=e&f='[]{}|^`\"", "ws://feed.example//a/../b;c?d=e&f='[]{}|^`\""),
    ],
)
def test_a_handshake_gets_the_host_that_was_judged_and_all_else_as_it_was_written(url, dialled):
    assert ascii_url(url, parse_url(url)) == dialled


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("wss://feed.example/a", "wss://feed.example/a"),
        ("wss://u:p@feed.example:1/a", "wss://***@feed.example:1/a"),
        ("wss://u:p@ss@feed.example/", "wss://***@feed.example/"),
        ("wss://feed.example/?token=x&key=a=b;flag", "wss://feed.example/?token=***&key=***;***"),
        ("wss://feed.example/#token=x", "wss://feed.example/"),
        ("wss:u:p@feed.example", "***"),
        ("u:p@feed.example", "***"),
        ("wss://[u:p@feed", "***"),
        ("stdout", "stdout"),
    ],
)
def test_user_info_and_query_values_are_masked(url, masked):
    assert mask_url(url) == masked


@given(WORD, WORD, WORD, WORD)
def test_no_secret_survives_the_mask(user, password, name, value):
    url = f"wss://{user}!1:{password}!2@feed.example/path?{name}={value}!3&{value}!4"
    assert "!" not in mask_url(url)
    assert mask_url(mask_url(url)) == mask_url(url)
    assert parse_url(url).host in mask_url(url)


@given(TEXT)
def test_masking_never_fails(url):
    mask_url(url)
