"""URLs: what is refused at the command, and what is never shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.uri import parse_uri

from runtime.urls import MAX_URL_LENGTH, Endpoint, mask_url, parse_url

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
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
        ("ws://bücher.example/größe", Endpoint(False, "bücher.example", 80)),
        ("ws://0x7f.1/", Endpoint(False, "0x7f.1", 80)),
    ],
)
def test_a_websocket_url_is_read(url, endpoint):
    assert parse_url(url) == endpoint


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
    theirs = parse_uri(url)
    assert (endpoint.secure, endpoint.port) == (theirs.secure, theirs.port)
    assert endpoint.host.encode("idna") == theirs.host.encode("idna")


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
