"""Whatever a secret holds, it stays a part of the place that it was put into."""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import parse_qs, unquote, urlsplit

from hypothesis import given
from hypothesis import strategies as st

from runtime.models.handshake import check_header
from runtime.models.secrets import fill, fill_message, fill_url, placeholders
from runtime.urls import mask_url, parse_url

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@given(TEXTS)
def test_a_url_has_the_same_parts_and_its_secret_is_read_back(secret: str):
    template = "wss://feed.example/${a}/x?token=${a}&more=1"
    url = fill_url(template, {"a": secret})
    assert parse_url(url) == parse_url(template)
    parts = urlsplit(url)
    assert unquote(parts.path) == f"/{secret}/x"
    assert parse_qs(parts.query, keep_blank_values=True) == {"token": [secret], "more": ["1"]}
    assert mask_url(url).endswith("?token=***&more=***")


@given(TEXTS)
def test_a_message_of_json_holds_the_secret_as_one_value(secret: str):
    message = fill_message('{"login": ["${a}", "x ${a}"], "n": 1}', {"a": secret})
    assert json.loads(message) == {"login": [secret, f"x {secret}"], "n": 1}


@given(TEXTS)
def test_a_secret_is_put_in_once_and_what_looks_like_a_placeholder_in_it_stays(secret: str):
    assert fill("<${a}|$${a}|${b}>", {"a": secret, "b": "${a}"}) == f"<{secret}|${{a}}|${{a}}>"


@given(TEXTS, TEXTS)
def test_what_passes_as_a_header_is_one_line_of_ascii(name: str, value: str):
    with suppress(ValueError):
        check_header(name, value)
        line = f"{name}: {value}"
        assert line.isascii()
        assert line.splitlines() == [line]
        assert all(char.isprintable() or char == "\t" for char in line)
        assert ":" not in name


@given(TEXTS)
def test_a_text_without_braces_names_nothing_and_is_left_as_it_is(text: str):
    plain = text.replace("{", "(")
    assert list(placeholders(plain)) == []
    assert fill(plain, {"a": "x"}) == plain
