"""The prepare call: what it is told and tells, who may be called, and what its failures mean."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from runtime.failure import FailureKind
from runtime.sources import Answer
from tests.unit.preparing import SECRETS, URL, Bench, sent
from tests.unit.world import World
from tests.virtual_time import virtual_time


@virtual_time
async def test_the_prepare_call_tells_url_headers_and_opening_messages_for_this_dial_only():
    bench = Bench()
    answer = {
        "url": "wss://other.example/?t=${token}",
        "headers": {"x-KEY": "fresh"},
        "openingMessages": ["a ${token}"],
    }
    prepared = await bench.called(
        Answer(200, json.dumps(answer).encode()),
        secrets=SECRETS,
        headers={"X-Key": "old", "X-Other": "${user}"},
        openingMessages=["old"],
    )
    assert prepared.url == answer["url"]  # what is answered is taken as it is
    assert prepared.handshake.headers == {"x-KEY": "fresh", "X-Other": "us3r"}
    assert sent(prepared) == ["a ${token}"]
    ((called, _, body),) = bench.calls.calls
    assert called == "https://tokens.example/feed"
    assert json.loads(body) == {"id": "a", "epoch": 7, "generation": 1}


@virtual_time
async def test_what_the_prepare_call_leaves_out_stays_as_the_record_has_it():
    prepared = await Bench().called(Answer(200, b"{}"), headers={"X-Key": "old"}, openingMessages=["old"])
    assert (prepared.url, prepared.handshake.headers, sent(prepared)) == (URL, {"X-Key": "old"}, ["old"])


@virtual_time
async def test_the_prepare_call_carries_secrets_of_its_own():
    bench = Bench()
    prepare = {"url": "https://tokens.example/${user}", "headers": {"Authorization": "Bearer ${token}"}}
    await bench.prepare(secrets=SECRETS, prepare=prepare)
    ((url, headers, _),) = bench.calls.calls
    assert (url, dict(headers)) == ("https://tokens.example/us3r", {"Authorization": "Bearer t0ken"})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, FailureKind.REFUSED),
        (401, FailureKind.REFUSED),
        (403, FailureKind.REFUSED),
        (404, FailureKind.REFUSED),
        (302, FailureKind.REFUSED),
        (408, FailureKind.TRANSIENT),
        (429, FailureKind.THROTTLED),
        (500, FailureKind.TRANSIENT),
        (502, FailureKind.TRANSIENT),
        (503, FailureKind.THROTTLED),
    ],
)
@virtual_time
async def test_a_status_of_the_prepare_call_has_the_meaning_that_the_handshake_s_would_have(
    status: int, kind: FailureKind
):
    bench = Bench()
    bench.calls.answer = Answer(status, b"t0ken", 30)
    failure = await bench.failure(prepare={"url": "https://tokens.example"})
    assert (failure.kind, failure.reason) == (kind, f"the prepare call was answered HTTP {status}")
    assert failure.retry_after_s == (30 if kind is not FailureKind.REFUSED else 0)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"t0ken", "no JSON"),
        (b"[]", "cannot be used"),
        (b'{"url": 1}', "cannot be used: url"),
        (b'{"headers": {"X": 1}}', "cannot be used: headers"),
        (b'{"openingMessages": [{"secret": "vault/token"}]}', "cannot be used: openingMessages"),
        (b'{"url": "https://t0ken.example/"}', "a URL that cannot be dialled"),
        (b'{"url": "wss://u:t0ken@a.example", "headers": {"authorization": "t0ken"}}', "only one can be sent"),
        (b'{"headers": {"Host": "t0ken"}}', "belongs to the handshake"),
        (b'{"headers": {"X-A": "t0ken\\r\\nHost: x"}}', "cannot be sent"),
    ],
)
@virtual_time
async def test_an_answer_that_is_of_no_use_is_refused_and_not_quoted(body: bytes, why: str):
    bench = Bench()
    bench.calls.answer = Answer(200, body)
    failure = await bench.failure(prepare={"url": "https://tokens.example"})
    assert failure.kind is FailureKind.REFUSED
    assert why in failure.reason
    assert "t0ken" not in failure.reason


@virtual_time
async def test_a_prepare_call_without_answer_ends_in_time_and_holds_up_no_more_than_its_slots():
    bench = Bench()
    bench.calls.takes_s = 100
    loop = asyncio.get_running_loop()
    began = loop.time()
    prepare = {"url": "https://tokens.example", "timeoutS": 5}
    failures = await asyncio.gather(*(bench.failure(prepare=prepare) for _ in range(4)))
    assert {failure.kind for failure in failures} == {FailureKind.TRANSIENT}
    assert failures[0].reason == "the prepare call had no answer within 5 s"
    assert loop.time() - began == pytest.approx(10)  # two at a time


@virtual_time
async def test_the_guard_judges_the_url_of_the_prepare_call():
    bench = Bench()
    bench.resolver.hosts["tokens.example"] = ["93.184.215.14", "169.254.169.254"]
    for url in ("https://tokens.example", "http://127.0.0.1:3500/v1.0/secrets", "http://0x7f.1/"):
        failure = await bench.failure(prepare={"url": url})
        assert failure.kind is FailureKind.REFUSED
        assert "the guard refuses" in failure.reason
    assert bench.calls.calls == []


@pytest.mark.parametrize(
    ("apps", "is_called"),
    [((), False), (("tokens/feed",), True), (("tokens/*",), True), (("tokens/fee",), False), (("other/*",), False)],
)
@virtual_time
async def test_only_apps_that_are_allowed_are_invoked(apps: tuple[str, ...], is_called: bool):
    bench = Bench(apps=apps)
    prepare = {"app": "tokens", "method": "feed"}
    if is_called:
        await bench.prepare(prepare=prepare)
        assert [call[0] for call in bench.calls.calls] == ["tokens/feed"]
    else:
        failure = await bench.failure(prepare=prepare)
        assert failure.kind is FailureKind.REFUSED
        assert "--prepare-apps does not name tokens/feed" in failure.reason
        assert bench.calls.calls == []


@pytest.mark.parametrize(
    "options",
    [
        {"proxy": {"url": "http://127.0.0.1:3128"}},
        {"prepare": {"url": "http://169.254.169.254/latest"}},
        {"prepare": {"url": "http://[::1]:3500/v1.0/secrets"}},
    ],
)
@virtual_time
async def test_a_connect_whose_proxy_or_prepare_call_leads_inside_is_rejected(options: dict[str, Any]):
    async with World().running() as world:
        outcome = await world.command("connect", id="a", url=URL, options=options)
        assert outcome["status"] == "rejected"
        assert "the guard refuses" in outcome["reason"]
