"""URLs made of awkward parts: whatever is let through is dialled where it was judged, by every reader on the way."""

from __future__ import annotations

import socket
from contextlib import suppress
from urllib.parse import urlsplit

from hypothesis import given
from hypothesis import strategies as st
from websockets.uri import parse_uri
from yarl import URL

from runtime.guard import Guard
from runtime.guard.entries import read_entries
from runtime.models.secrets import fill_url
from runtime.urls import Endpoint, ascii_http_url, ascii_url, mask_url, parse_http_url, parse_url
from tests.fuzz.effort import effort
from tests.fuzz.values import text

GUARD = Guard(allow_private=False)
SECRET = "q7Hunter2q7"


def _one_of(words: str, *others: str) -> st.SearchStrategy[str]:
    """One of these words, which blanks divide, or of the others."""
    return st.sampled_from([*words.split(), *others])


def _mostly(plain: st.SearchStrategy[str], odd: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """What is odd in one of nine, so that not every URL is refused for something."""
    return st.sampled_from([False] * 8 + [True]).flatmap(lambda is_odd: odd if is_odd else plain)


_scheme = _mostly(_one_of("ws wss"), _one_of("WS Wss http w\u017f", "ws ", ""))
_after = _mostly(st.just("://"), _one_of(":/ : :/// ://\\ //"))
_label = _one_of(
    "feed example localhost 127 0x7f 0177 1 0 0x 4294967295 1e2 -a _ xn--fa-hia ① \uff11\uff12\uff17 faß é"
)
_odd_label = _one_of("٣ İ ﬀ ⓔxample ℀ \uff20 \u00ad \u200d xn-- %31 %2e a?b", "a" * 64, "")
_dot = _one_of(". . . 。 \uff0e ｡")
_name = st.tuples(_label, st.lists(st.tuples(_dot, _mostly(_label, _odd_label)), max_size=4)).map(
    lambda found: found[0] + "".join(dot + label for dot, label in found[1])
)
_v6 = _one_of(
    "::1 ::ffff:127.0.0.1 ::ffff:7f00:1 64:ff9b::7f00:1 2001:db8::1 fe80::1%25eth0 fe80::1%eth0 v1.x 2606:4700::1111"
    " :: 1::2::3 [::1] 0:0:0:0:0:0:127.1 2002:7f00:1:: ::\uff46"
).map("[{}]".format)
_port = _mostly(_one_of(": :80 :443 :8080 :080", "", ""), _one_of(":0 :65536 :٨٠ :+80 :00000080 :8_0 :-1"))
_user = _mostly(_one_of("u:p@ u:p%40@ u:p:q@ ü:p@", "", ""), _one_of("u@ @ u:p@h@ %ff:@ [u:p@ [::1]u@ a/b:@ u:#@"))
_rest = _mostly(_one_of("/ /a?b=c ?x /a@b /ü /% ;x /${a} ?a=${a}", ""), _one_of("#x \\@other.example/ ?a=${a}#", "/\t"))
_end = _one_of(".", "", "")
_url = st.tuples(_scheme, _after, _user, _mostly(_name, _v6), _end, _port, _rest).map("".join)


@st.composite
def _spoilt(draw: st.DrawFn) -> str:
    """A URL with a few letters of it exchanged."""
    found = draw(_url)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(found)))
        found = found[:at] + draw(text.map(lambda part: part[:3])) + found[at + draw(st.integers(0, 2)) :]
    return found


def _same_place(endpoint: Endpoint, url: str) -> None:
    """The readers that come after ours see the same host and port in what they are given."""
    assert url.isascii()
    parts = urlsplit(url)
    default = 443 if endpoint.secure else 80
    assert (parts.hostname, parts.port or default) == (endpoint.host, endpoint.port)
    seen = URL(url, encoded=True)
    assert (seen.raw_host, seen.port) == (endpoint.host, endpoint.port)


@effort(1500)
@given(_spoilt())
def test_what_is_let_through_is_dialled_where_it_was_judged(url: str):
    try:
        endpoint = parse_url(url)
    except UnicodeError:  # a ValueError, but no refusal
        raise
    except ValueError:
        return
    dialled = ascii_url(url, endpoint)
    _same_place(endpoint, dialled)
    theirs = parse_uri(dialled)
    assert (theirs.secure, theirs.host, theirs.port) == (endpoint.secure, endpoint.host, endpoint.port)
    assert parse_url(dialled) in (endpoint, Endpoint(endpoint.secure, endpoint.host, endpoint.port))
    with suppress(KeyError):  # `${…}` that no secret is for
        assert parse_url(fill_url(url, {"a": "/@#?[]:%"})) == endpoint


@effort(1500)
@given(_spoilt())
def test_an_address_in_whatever_form_is_judged_before_the_dial_and_a_name_is_none(url: str):
    try:
        endpoint = parse_url(url)
    except ValueError:
        return
    verdict = GUARD.judge_host(endpoint)
    if endpoint.address is not None:
        assert verdict is not None
        assert verdict == GUARD.judge(endpoint, str(endpoint.address))
        return
    with suppress(socket.gaierror):  # no look-up: the resolver reads addresses only
        found = socket.getaddrinfo(endpoint.query_name, endpoint.port, flags=socket.AI_NUMERICHOST)
        raise AssertionError(f"{endpoint.query_name} is taken for {found[0][4][0]}")
    for deny in (endpoint.host, f"*.{endpoint.host.partition('.')[2]}" if "." in endpoint.host else "*"):
        with suppress(ValueError):  # what is below a name that ends in a dot
            refused = Guard(allow_private=False, deny=read_entries(deny)).judge_host(endpoint)
            assert refused is not None
            assert refused.refusal is not None


@effort(500)
@given(_spoilt())
def test_a_prepare_call_goes_where_it_was_judged(url: str):
    url = "http" + url[2:] if url[:2].lower() == "ws" else url
    try:
        endpoint = parse_http_url(url)
    except ValueError:
        return
    _same_place(endpoint, ascii_http_url(url, endpoint))


@effort(500)
@given(_spoilt(), _scheme, _after)
def test_no_refusal_and_no_mask_tells_a_password_or_a_token(url: str, scheme: str, after: str):
    for secret in (
        f"{scheme}{after}user:{SECRET}@{url.partition('://')[2]}",
        f"{url.partition('#')[0]}?token={SECRET}",
    ):
        shown = mask_url(secret)
        try:
            parse_url(secret)
        except ValueError as refused:
            shown += str(refused)
            if SECRET in mask_url(secret):
                continue  # what is no URL is never stored, and only shown to whoever wrote it
        assert SECRET not in shown
