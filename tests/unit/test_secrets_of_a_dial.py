"""Secrets for a dial: put in their places, read when they are due, sent only to where they may go."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from runtime.adapters.memory.sources import MemoryCalls, MemorySecrets
from runtime.errors import TransientError
from runtime.failure import DialError, Failure, FailureKind
from runtime.models.connection import WebSocketConnection
from runtime.models.opening import Step
from runtime.models.options import WebSocketOptions
from runtime.ports import Dial
from runtime.sources import Answer, Sources, read_secret_rules
from tests.unit.preparing import NASTY, SECRETS, URL, Bench, sent
from tests.unit.world import World
from tests.virtual_time import virtual_time


@virtual_time
async def test_without_references_nothing_is_read_and_everything_is_as_it_was():
    bench = Bench()
    text = "${token} is no placeholder where no secrets are named, nor is $${token}"
    record = WebSocketConnection(
        id="a", url=f"{URL}?${{token}}", options=WebSocketOptions(opening_messages=(Step(data=text),))
    )
    prepared = await bench.preparation.prepare(record)
    assert (prepared.url, prepared.options) == (record.url, record.options)
    assert bench.store.reads == []


@virtual_time
async def test_secrets_come_into_headers_messages_and_the_heartbeat():
    prepared = await Bench().prepare(
        secrets=SECRETS,
        headers={"Authorization": "Bearer ${token}", "X-User": {"secret": "vault/user"}, "X-Both": "${user}:${token}"},
        openingMessages=["login ${user} $${user}", {"secret": "vault/token"}, {"data": "JHt9", "binary": True}],
        heartbeat={"data": "ping ${token}", "intervalS": 5},
    )
    assert dict(prepared.handshake.headers) == {
        "Authorization": "Bearer t0ken",
        "X-User": "us3r",
        "X-Both": "us3r:t0ken",
    }
    assert sent(prepared) == ["login us3r ${user}", "t0ken", b"${}"]
    assert prepared.options.heartbeat is not None
    assert prepared.options.heartbeat.content() == "ping t0ken"


@virtual_time
async def test_a_secret_cannot_break_out_of_its_place():
    bench = Bench()
    named = {"nasty": {"secret": "vault/nasty"}}
    prepared = await bench.prepare(
        "wss://feed.example/${nasty}?token=${nasty}&more=1",
        secrets=named,
        openingMessages=['{"op": "login", "token": "${nasty}", "n": 1}', "plain ${nasty}"],
    )
    encoded = "a%26b%3D%22c%22%2F%25%C3%A9%5C"
    assert prepared.url == f"wss://feed.example/{encoded}?token={encoded}&more=1"
    as_json, plain = sent(prepared)
    assert isinstance(as_json, str)
    assert json.loads(as_json) == {"op": "login", "token": NASTY, "n": 1}
    assert plain == f"plain {NASTY}"


@pytest.mark.parametrize("value", ["a\r\nHost: evil", "a\n", "ä", " x1", "a\0"])
@virtual_time
async def test_a_secret_that_is_no_value_of_a_header_is_refused_without_its_text(value: str):
    bench = Bench(token=value)
    for options in (
        {"headers": {"X-Key": {"secret": "vault/token"}}},
        {"headers": {"X-Key": "${token}"}, "secrets": SECRETS},
        {"proxy": {"url": "http://proxy.example:3128", "authorization": {"secret": "vault/token"}}},
    ):
        failure = await bench.failure(**options)
        assert failure.kind is FailureKind.REFUSED
        assert "cannot be sent" in failure.reason
        assert value not in failure.reason


@virtual_time
async def test_a_missing_secret_is_refused_and_named_by_store_and_key_only():
    failure = await Bench().failure(headers={"X-Key": {"secret": "vault/absent"}})
    assert failure.kind is FailureKind.REFUSED
    assert failure.reason == "the secret vault/absent is not there, or not for us to read"


@virtual_time
async def test_a_store_that_is_away_is_no_reason_to_give_up():
    bench = Bench()
    bench.store.failure = TransientError("the store's own words")
    failure = await bench.failure(headers={"X-Key": {"secret": "vault/token"}})
    assert failure.kind is FailureKind.TRANSIENT
    assert failure.reason == "the secret vault/token cannot be read now: its store does not answer"


@pytest.mark.parametrize(
    ("rules", "is_sent"),
    [
        ("", False),
        ("vault/token", True),
        ("vault/tok*", True),
        ("vault/*", True),
        ("vault/tok", False),
        ("vault/token2", False),
        ("other/*", False),
        ("vault/token@feed.example", True),
        ("vault/token@*.example", True),
        ("vault/token@feed.example:443", True),
        ("vault/token@feed.example:80", False),
        ("vault/token@example", False),
        ("vault/token@evil.example, vault/user", False),
        ("vault/user, vault/token@other.example vault/token@feed.example", True),
    ],
)
@virtual_time
async def test_only_what_is_allowed_is_sent_and_only_there(rules: str, is_sent: bool):
    bench = Bench(rules)
    options: dict[str, Any] = {"headers": {"X-Key": {"secret": "vault/token"}}}
    if is_sent:
        assert (await bench.prepare(**options)).handshake.headers == {"X-Key": "t0ken"}
    else:
        failure = await bench.failure(**options)
        assert failure.kind is FailureKind.REFUSED
        assert failure.reason.startswith("the secret vault/token may not be sent to feed.example")
        assert bench.store.reads == []


@virtual_time
async def test_a_secret_for_one_host_does_not_go_to_another_by_a_proxy_a_call_or_its_answer():
    bench = Bench("vault/token@feed.example", apps=("tokens/feed",))
    reference = {"secret": "vault/token"}
    proxy = await bench.failure(proxy={"url": "http://proxy.example", "authorization": reference})
    assert "may not be sent to proxy.example" in proxy.reason
    call = await bench.failure(prepare={"url": "https://tokens.example", "headers": {"X-Key": reference}})
    assert "may not be sent to tokens.example" in call.reason
    bench.calls.answer = Answer(200, b'{"url": "wss://evil.example/"}')
    answer = await bench.failure(prepare={"app": "tokens", "method": "feed"}, headers={"X-Key": reference})
    assert "may not be sent to evil.example" in answer.reason


@virtual_time
async def test_a_secret_is_read_once_for_many_dials_and_again_after_its_time():
    bench = Bench()
    options: dict[str, Any] = {"headers": {"X-Key": {"secret": "vault/token"}}}
    async with asyncio.TaskGroup() as group:
        for _ in range(50):
            group.create_task(bench.prepare(**options))
    await bench.prepare(**options)
    assert bench.store.reads == ["vault/token"]
    bench.store.values["vault/token"] = "n3w"
    await asyncio.sleep(59)
    assert (await bench.prepare(**options)).handshake.headers == {"X-Key": "t0ken"}
    await asyncio.sleep(1)
    assert (await bench.prepare(**options)).handshake.headers == {"X-Key": "n3w"}


@virtual_time
async def test_one_who_gives_up_takes_no_secret_from_the_others():
    bench = Bench()
    options: dict[str, Any] = {"headers": {"X-Key": {"secret": "vault/token"}}}
    tasks = [asyncio.create_task(bench.prepare(**options)) for _ in range(2)]
    await asyncio.sleep(0.001)
    tasks[0].cancel()
    assert (await tasks[1]).handshake.headers == {"X-Key": "t0ken"}


@virtual_time
async def test_what_is_prepared_shows_nothing_of_its_secrets():
    prepared = await Bench().prepare(
        "wss://feed.example/?t=${token}",
        secrets=SECRETS,
        headers={"X-Key": "${token}"},
        openingMessages=["${token}"],
        proxy={"url": "http://proxy.example", "authorization": "Bearer ${token}"},
        tls={"ca": {"secret": "vault/token"}},
    )
    for shown in (
        repr(prepared),
        str(prepared),
        repr(prepared.options),
        f"{prepared.options}",
        f"{prepared.handshake}",
    ):
        assert "t0ken" not in shown


@virtual_time
async def test_each_dial_is_prepared_anew_and_what_was_refused_is_read_again():
    store, calls = MemorySecrets(**{"vault/token": "old"}), MemoryCalls()
    sources = Sources(store, calls, calls, read_secret_rules("vault/*"))
    seen = []

    async def server(dial: Dial) -> None:
        seen.append(dial.handshake.headers["X-Key"])
        store.values["vault/token"] = "new"  # rotated meanwhile
        if len(seen) < 4:
            kind = FailureKind.TRANSIENT if len(seen) == 1 else FailureKind.REFUSED
            raise DialError(Failure(kind, "no"))

    async with World(sources=sources).running() as world:
        world.dialer.before = server
        options = {"headers": {"X-Key": {"secret": "vault/token"}}, "prepare": {"url": "https://tokens.example"}}
        body = {"id": "a", "url": URL, "autoReconnect": True, "options": options}
        await world.command("connect", **body)
        await world.settle(50)
        assert seen == ["old", "old", "new", "new"]  # a failure that says nothing of the secret leaves it as it is
        assert (len(calls.calls), len(store.reads)) == (4, 3)
        world.dialer.sockets[-1].lose(1008, "the session is over")
        await world.settle(50)
        assert (len(calls.calls), len(store.reads)) == (5, 4)


@virtual_time
async def test_a_secret_that_never_comes_ends_the_connection_with_its_name_in_the_record():
    sources = Sources(MemorySecrets(), rules=read_secret_rules("vault/*"))
    async with World(sources=sources).running() as world:
        with pytest.raises(IndexError):
            await world.connect(options={"headers": {"X-Key": {"secret": "vault/absent"}}})
        await world.settle(300)
        record = await world.record()
        assert (world.dialer.dials, record.status.label) == (0, "Disconnected")
        assert "vault/absent is not there" in (record.last_error or "")


@virtual_time
async def test_a_secret_that_the_peer_repeats_at_the_end_is_neither_recorded_nor_announced():
    sources = Sources(MemorySecrets(**{"vault/token": 't0ken"&'}), rules=read_secret_rules("vault/*"))
    async with World(sources=sources).running() as world:
        socket = await world.connect(options={"headers": {"X-Key": {"secret": "vault/token"}}})
        socket.lose(1011, 'bad t0ken"& t0ken%22%26 t0ken\\"& dDBrZW4iJg== 0k')
        await world.settle()
        assert (await world.record()).last_error == "the peer closed with 1011: bad *** *** *** *** 0k"
        told = b"".join(event.data for event in world.publisher.events)
        assert b"bad *** ***" in told
        assert b"0ken" not in told


@virtual_time
async def test_what_a_prepare_call_has_told_is_kept_from_them_likewise():
    answer = {"url": "wss://feed.example/?token=fr3sh%2F1&x=y", "headers": {"X-Key": "h3ader"}}
    calls = MemoryCalls(Answer(200, json.dumps(answer).encode()))
    async with World(sources=Sources(http=calls)).running() as world:
        socket = await world.connect(options={"prepare": {"url": "https://tokens.example"}})
        socket.lose(1011, "bad fr3sh/1 fr3sh%2F1 h3ader y")
        await world.settle()
        assert (await world.record()).last_error == "the peer closed with 1011: bad *** *** *** y"
