"""CloudEvents over HTTP against real servers: what arrives, in which order, and what each fault leads to."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from email.utils import format_datetime
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

import pytest
from aiohttp import web

from runtime.adapters.clock import SystemClock
from runtime.adapters.embedded.http_sink import HttpSink
from runtime.embedded import start_embedded
from runtime.errors import EventRefusedError, PermanentError, PublishError
from runtime.models.events import CloudEventEncoder, Event
from runtime.models.options import WebSocketOptions
from runtime.settings import Settings
from tests.cloud_events import read_cloud_event
from tests.embedded import Observed, embedded
from tests.peers import listening, until
from tests.processes import free_ports
from tests.receiver import Answer, hang_up, receiver, status
from tests.sinks import NOW, event, line_to

pytestmark = pytest.mark.integration


@asynccontextmanager
async def sink_to(url: str, mode: Literal["binary", "structured"] = "binary", timeout_s: float = 30):
    sink = HttpSink(url, mode, "here", "pubsub", timeout_s=timeout_s)
    try:
        yield sink
    finally:
        await sink.close()


async def write(sink: HttpSink, *events: Event) -> None:
    encoder = CloudEventEncoder("here", "pubsub")
    await sink.write(events, [encoder.encode(event) for event in events])


def ids(first: int, last: int) -> list[str]:
    return [f"a.7.{number}" for number in range(first, last + 1)]


# ---- what arrives


EVENTS = [
    Event("1", "t", "type", "a", NOW, b'{"n": "\xc3\xbc"}'),
    Event('quote " percent % \u00fc \u2603\n', "topic/ü", "type", "", NOW, b"1", "application/vnd.x+json", "/shop"),
    Event("3", "t", "type", "a", NOW, "ü".encode(), "text/plain; charset=utf-8"),
    Event("4", "t", "type", "a", NOW, b"\xff\x00", "application/octet-stream"),
    Event("5", "t", "type", "a", NOW, b'"' + b"x" * 3_000_000 + b'"'),
]


@pytest.mark.parametrize("mode", ["binary", "structured"])
@pytest.mark.parametrize("sent", EVENTS, ids=[event.content_type + event.id[:1] for event in EVENTS])
async def test_a_strict_parser_reads_each_event_as_it_was_meant(mode: Literal["binary", "structured"], sent: Event):
    async with receiver() as server, sink_to(server.url, mode) as sink:
        await write(sink, sent)
    (message,) = server.requests
    found = read_cloud_event({key: unquote(value) for key, value in message.headers.items()}, message.body)
    assert (found["id"], found["type"], found["source"]) == (sent.id, sent.type, sent.source or "here")
    assert (found.get("subject") or "", found["time"]) == (sent.subject, NOW)
    if mode == "structured":
        assert found["datacontenttype"] == sent.content_type
    else:
        assert message.headers["content-type"] == sent.content_type
    assert found["topic"] == sent.topic
    data = found.data
    if "json" in sent.content_type:
        assert data == json.loads(sent.data)
    else:
        assert (data.encode() if isinstance(data, str) else data) == sent.data
    if mode == "structured":
        assert message.headers["content-type"].startswith("application/cloudevents+json")


async def test_one_connection_serves_many_events_in_order(tmp_path: Path):
    async with receiver() as server, line_to(HttpSink(server.url, "binary", "here", "pubsub"), tmp_path) as line:
        line.push(*(str(number) for number in range(100)))
        await line.until_empty()
    assert server.accepted == ids(1, 100)
    assert len(server.connections) == 1


async def test_k_sink_is_where_events_go_unless_another_sink_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async with receiver() as server:
        monkeypatch.setenv("K_SINK", server.url)
        chosen = Settings()
        async with sink_to(chosen.sink, chosen.sink_mode) as sink:
            await write(sink, event(1))
        monkeypatch.setenv("WSM_SINK", "stdout")
        assert Settings().sink == "stdout"
    assert server.accepted == ["1"]
    assert server.requests[0].headers["ce-id"] == "1"


# ---- faults, each once


async def test_an_event_that_is_refused_for_itself_leaves_a_dead_letter_and_a_gap_and_the_rest_goes_on(tmp_path: Path):
    async with receiver() as server, line_to(HttpSink(server.url, "binary", "here", "pubsub"), tmp_path) as line:
        server.answers = [None, status(400)]
        line.push("one", "two", "three")
        await line.until_empty()
        (letter,) = await line.letters.read()
    assert [id_ for id_ in server.accepted if id_.startswith("a.7.") and "gap" not in id_] == [
        "a.7.1",
        "a.7.3",
        "a.7.dropped.2",
    ]
    assert letter.id == "a.7.2"
    assert json.loads(letter.event.data)["payload"] == "two"
    assert "answered 400" in letter.reason
    assert "secret" not in letter.reason
    assert "pass" not in letter.reason
    (gap,) = [json.loads(m.body) for m in server.requests if m.headers["ce-type"].endswith(".gap")]
    assert (gap["kind"], gap["epoch"], gap["fromSequence"], gap["toSequence"]) == ("dropped", 7, 2, 2)
    assert line.clock.slept == []


@pytest.mark.parametrize("code", [400, 413, 415, 422])
async def test_these_answers_refuse_the_event_at_this_place(code: int):
    async with receiver() as server, sink_to(server.url) as sink:
        server.answers = [None, status(code)]
        with pytest.raises(EventRefusedError, match=f"answered {code}") as refused:
            await write(sink, event(1), event(2), event(3))
    assert refused.value.index == 1
    assert server.accepted == ["1"]


@pytest.mark.parametrize(
    ("answer", "reason", "wait_s"),
    [
        (status(429, **{"Retry-After": "7"}), "answered 429", 7),
        (status(503, **{"Retry-After": "86400"}), "answered 503", 3600),
        (status(429, **{"Retry-After": "soon"}), "answered 429", None),
        (status(500), "answered 500", None),
        (status(404), "answered 404", None),
        (status(301, Location="/elsewhere"), "answered 301; redirects are not followed: use the final URL", None),
        (hang_up, "cannot be reached: ServerDisconnectedError", None),
    ],
)
async def test_all_other_faults_tell_how_far_the_call_got_and_what_to_wait(
    answer: Answer, reason: str, wait_s: float | None
):
    async with receiver() as server, sink_to(server.url) as sink:
        server.answers = [None, answer]
        with pytest.raises(PublishError, match=reason) as failed:
            await write(sink, event(1), event(2), event(3))
    assert (failed.value.published, failed.value.retry_after_s) == (1, wait_s)
    assert len(server.requests) == 2  # a redirect is not followed either
    assert "secret" not in str(failed.value)


async def test_retry_after_may_be_a_date():
    async with receiver() as server, sink_to(server.url) as sink:
        later = SystemClock().now().replace(microsecond=0, year=SystemClock().now().year + 1, day=1)
        server.answers = [status(429, **{"Retry-After": format_datetime(later, usegmt=True)})]
        with pytest.raises(PublishError) as failed:
            await write(sink, event(1))
    assert failed.value.retry_after_s == 3600


async def test_a_sink_that_does_not_answer_in_time_is_tried_again(tmp_path: Path):
    async def slow(request: web.Request) -> None:
        await asyncio.sleep(5)

    async with (
        receiver() as server,
        line_to(HttpSink(server.url, "binary", "here", "p", timeout_s=0.2), tmp_path) as line,
    ):
        server.answers = [slow]
        line.push("one", "two")
        await line.until_empty()
        assert line.observed.warnings[0][1]["reason"].endswith("did not answer within 0.2 s")
    assert server.accepted == ids(1, 2)


async def test_a_server_that_talks_no_http_is_an_error_like_any_other():
    async def nonsense(talk) -> None:
        talk.writer.write(b"SSH-2.0-OpenSSH\r\n")
        await talk.writer.drain()

    async with listening(nonsense) as peer, sink_to(peer.url.replace("ws://", "http://")) as sink:
        with pytest.raises(PublishError, match="cannot be reached"):
            await write(sink, event(1))


@pytest.mark.parametrize("url", ["ftp://a/", "http://", "sink", "http://a:99999/", "http://[::1", "http://a:0/", ""])
def test_what_can_never_be_posted_to_is_refused_at_start(url: str):
    with pytest.raises(PermanentError, match="must be stdout or an http:// or https:// URL"):
        HttpSink(url, "binary", "here", "pubsub")


async def test_a_manager_with_a_bad_sink_does_not_start_and_lets_go_of_its_folder(tmp_path: Path):
    with pytest.raises(PermanentError, match="must be stdout or an http"):
        async with start_embedded(Settings(data=tmp_path, port=0, sink="http://sink.example:0/"), Observed()):
            pass
    async with embedded(tmp_path) as wsm:
        assert await wsm.invoke("connections") == []


# ---- faults that last


async def test_what_was_sent_while_nobody_listened_arrives_in_order_and_whole_once_somebody_does(tmp_path: Path):
    (port,) = free_ports(1)
    async with line_to(HttpSink(f"http://127.0.0.1:{port}/", "binary", "here", "pubsub"), tmp_path) as line:
        line.queue.resize(WebSocketOptions(queue_max_messages=50))
        pushed = [line.push(str(number)) for number in range(50)]
        assert pushed == [True] * 49 + [False]  # block: the reader is told to wait
        await until(lambda: sum(line.clock.slept) > 60, "a minute of retries")
        assert len(line.queue) == 50
        assert max(line.clock.slept) <= 5
        reasons = [fields["reason"] for name, fields in line.observed.warnings]
        assert reasons == [f"http://127.0.0.1:{port}/ cannot be reached: ClientConnectorError"]  # said once
        async with receiver(port) as server:
            await asyncio.wait_for(line.queue.wait_for_room(), 20)
            line.push("last")
            await line.until_empty()
    assert server.accepted == ids(1, 51)


async def test_whatever_fails_on_the_way_nothing_is_lost_or_out_of_order(tmp_path: Path):
    async with receiver() as server, line_to(HttpSink(server.url, "structured", "here", "pubsub"), tmp_path) as line:
        faults = [status(500), None, hang_up, status(429, **{"Retry-After": "2"}), None, None, status(302), None]
        server.answers = faults * 10
        line.push(*(str(number) for number in range(200)))
        await line.until_empty()
        assert await line.letters.read() == []
        assert sum(seconds >= 2 for seconds in line.clock.slept) == 10  # what Retry-After asked for
    assert server.accepted == ids(1, 200)


async def test_an_answer_that_was_lost_makes_a_repeat_with_the_same_id(tmp_path: Path):
    async with receiver() as server, line_to(HttpSink(server.url, "binary", "here", "pubsub"), tmp_path) as line:
        server.answers = [None, hang_up]
        line.push("one", "two", "three")
        await line.until_empty()
    assert [message.headers["ce-id"] for message in server.requests] == ["a.7.1", "a.7.2", "a.7.2", "a.7.3"]
    bodies = [message.body for message in server.requests if message.headers["ce-id"] == "a.7.2"]
    assert bodies[0] == bodies[1]


async def test_the_tail_shows_what_has_arrived_and_nothing_else(tmp_path: Path):
    async with receiver() as server, line_to(HttpSink(server.url, "binary", "here", "pubsub"), tmp_path) as line:
        with line.tail.subscribe(frozenset({"t"})) as reader:
            server.answers = [None, status(400), status(500)]
            line.push("one", "two", "three")
            await line.until_empty()
            line.tail.close()
            seen = []
            while document := await reader.next(1):
                seen.append(json.loads(document)["id"])
    assert seen == ["a.7.1", "a.7.3"]
