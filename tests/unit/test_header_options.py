"""Options of the handshake: what is taken, what is refused and in which words, and what is shown of them."""

from __future__ import annotations

from typing import Any

import pytest

from runtime.errors import InvalidInputError
from runtime.models.commands import Connect
from runtime.models.connection import HeldConnection, WebSocketConnection
from runtime.models.options import WebSocketOptions

PLANTED = "pl4nted"
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----"
REFUSED: list[tuple[dict[str, Any], str]] = [
    *(
        ({"headers": {name: PLANTED}}, "belongs to the handshake itself")
        for name in [
            "Host", "hOST", "Connection", "Upgrade", "Keep-Alive", "TE", "Trailer", "Transfer-Encoding",
            "Content-Length", "Expect", "HTTP2-Settings", "Proxy-Authorization", "Proxy-Connection",
            "Sec-WebSocket-Key", "Sec-WebSocket-Version", "sec-websocket-protocol", "Sec-WebSocket-Extensions",
            "Sec-Fetch-Mode", "Origin", "User-Agent",
        ]
    ),
    *(({"headers": {name: "x"}}, "no token") for name in ["", "A B", "A:", "A\r\nB", "Ä", "a" * 129]),
    *(
        ({"headers": {"X-A": value}}, "a value holds")
        for value in ["a\r\nHost: b", "a\nb", "a\rb", "a\0b", "a\x7fb", " a", "a ", "ä", "a\n"]
    ),
    ({"headers": {"X-A": "a" * 8193}}, "longer than 8192"),
    ({"headers": {"X-A": "1", "x-a": "2"}}, "x-a more than once"),
    ({"headers": {f"X-{number}": "1" for number in range(65)}}, "65 headers; at most 64"),
    ({"headers": {"X-A": {"secret": "no-slash"}}}, "headers.x-A"),
    ({"subprotocols": ["a b"]}, "token"),
    ({"subprotocols": ["a", "a"]}, "more than once"),
    ({"subprotocolRequired": True}, "without subprotocols"),
    ({"origin": "https://a\r\nX: y"}, "a value holds"),
    ({"userAgent": "a\nb"}, "a value holds"),
    ({"tls": {"ca": "no pem"}}, "must be PEM"),
    ({"tls": {"certificate": CERTIFICATE}}, "need each other"),
    ({"tls": {"key": {"secret": "v/k"}}}, "need each other"),
    ({"tls": {"key": PLANTED, "certificate": CERTIFICATE}}, "tls.key"),
    ({"tls": {"minimumVersion": "1.1"}}, "1.2"),
    ({"tls": {"serverName": "a b"}}, "tls.serverName"),
    ({"deflateWindowBits": 8}, "deflateWindowBits"),
    ({"proxy": {"url": "https://proxy.example"}}, "http://HOST:PORT"),
    ({"proxy": {"url": "http://u:p@proxy.example"}}, "authorization"),
    ({"proxy": {"url": "socks5://proxy.example"}}, "http://"),
    ({"proxy": {"url": "http://proxy.example", "authorization": "a\r\nb"}}, "a value holds"),
    ({"prepare": {}}, "either app and method, or url"),
    ({"prepare": {"app": "tokens"}}, "either app and method, or url"),
    ({"prepare": {"app": "tokens", "method": "m", "url": "https://a.example"}}, "either app and method, or url"),
    ({"prepare": {"app": "tokens", "method": "feed/../m"}}, "prepare.method"),
    ({"prepare": {"app": "tokens", "method": "m", "headers": {"X-A": "1"}}}, "for url only"),
    ({"prepare": {"url": "ftp://a.example"}}, "http://"),
    ({"prepare": {"url": "https://a.example", "headers": {"Host": "b"}}}, "belongs to the handshake"),
    ({"secrets": {"1a": {"secret": "v/k"}}}, "secrets"),
    ({"secrets": {"a": "v/k"}}, "secrets.a"),
    ({"secrets": {"a": {"secret": "v/k"}}, "headers": {"X-A": "${b}"}}, "${b} is not among secrets"),
    ({"secrets": {"a": {"secret": "v/k"}}, "openingMessages": ["${b}"]}, "${b} is not among secrets"),
    ({"secrets": {"a": {"secret": "v/k"}}, "heartbeat": {"data": "${b}", "intervalS": 5}}, "${b} is not among secrets"),
    (
        {"secrets": {"a": {"secret": "v/k"}}, "proxy": {"url": "http://p.example", "authorization": "${b}"}},
        "${b} is not among secrets",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("options", "reason"), REFUSED, ids=[str(options)[:60] for options, _ in REFUSED])
def test_what_does_not_belong_into_a_handshake_is_refused_in_words_that_quote_no_value(
    options: dict[str, Any], reason: str
):
    with pytest.raises(InvalidInputError) as caught:
        WebSocketOptions.read(options)
    assert reason in str(caught.value)
    assert PLANTED not in str(caught.value)


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "X-Api-Key", "Accept-Language", "x_y", "Forwarded"])
def test_other_headers_are_taken_as_texts_or_as_secrets(name: str):
    for value in ["", "a", "Bearer a/b=", "a\tb", {"secret": "vault/path/to-key"}]:
        options = WebSocketOptions.read({"headers": {name: value}})
        assert options.to_wire()["headers"] == {name: value}


def test_a_url_names_only_secrets_of_the_options():
    body = {"url": "wss://feed.example/${token}", "options": {"secrets": {"other": {"secret": "v/k"}}}}
    with pytest.raises(InvalidInputError, match="token"):
        Connect.read(body)
    assert Connect.read({"url": "wss://feed.example/${token}"}).url == "wss://feed.example/${token}"


def test_a_url_with_user_info_leaves_no_room_for_an_authorization_header():
    body = {"url": "wss://user:word@feed.example/", "options": {"headers": {"authorization": "x"}}}
    with pytest.raises(InvalidInputError, match="give one of them") as caught:
        Connect.read(body)
    assert "word" not in str(caught.value)


def test_unknown_options_are_named_at_every_depth():
    options = {"tls": {"minimumVersoin": "1.3"}, "proxy": {"url": "http://p.example", "x": 1}, "prepar": {}}
    command = Connect.read({"url": "wss://feed.example", "options": options})
    assert [text.split("'")[1] for text in command.warnings] == ["prepar", "tls.minimumVersoin", "proxy.x"]


def test_what_is_shown_of_options_holds_references_and_no_text_that_may_be_a_secret():
    headers = {"Authorization": f"Bearer {PLANTED}", "Cookie": f"{PLANTED} ${{token}}", "Accept-Language": "en"}
    options = WebSocketOptions.read(
        {
            "headers": {**headers, "X-Api-Key": {"secret": "vault/key"}},
            "secrets": {"token": {"secret": "vault/token"}},
            "proxy": {"url": "http://proxy.example:3128", "authorization": f"Basic {PLANTED}"},
            "prepare": {"url": f"https://tokens.example/?key={PLANTED}", "headers": {"X-Token": PLANTED}},
        }
    )
    shown = options.masked().to_wire()
    assert PLANTED not in str(shown)
    assert shown["headers"] == {
        "Authorization": "***",
        "Cookie": "*** ${token}",
        "Accept-Language": "en",
        "X-Api-Key": {"secret": "vault/key"},
    }
    assert shown["prepare"]["url"] == "https://tokens.example/?key=***"
    assert options.to_wire()["headers"]["Authorization"] == f"Bearer {PLANTED}"  # an export has to be whole


def test_a_host_keeps_one_object_for_equal_options_and_takes_those_that_have_no_hash():
    def held(**options: Any) -> WebSocketOptions:
        read = WebSocketOptions.read(options)
        return HeldConnection.of(WebSocketConnection(id="a", options=read)).options

    assert held(originX=1) == held(originX=1)
    assert held(origin="https://a.example") is held(origin="https://a.example")
    assert held(headers={"X-A": "1"}) == held(headers={"X-A": "1"})
