"""The manager against peers that do harm: each ends in a classified failure, in time, in bounded memory, alone."""

from __future__ import annotations

import asyncio
import json
import ssl
import tracemalloc
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import pytest

from runtime.failure import FailureKind
from tests.dialling import connected, lost, next_of
from tests.integration.hostile_peers import Case, all_cases
from tests.loops import on_both_loops
from tests.peers import (
    PING,
    PONG,
    TEXT,
    Certificate,
    Peer,
    Talk,
    close_frame,
    expired_certificate,
    frame,
    listening,
    make_certificate,
    until,
)
from tests.running import Manager, manager
from tests.scripted import Ear, scripted

pytestmark = pytest.mark.integration
CASES = list(all_cases())
DELAYS = {"reconnectBaseDelayS": 1, "reconnectMaxDelayS": 1}
QUICK = {"closeTimeoutS": 0.1, "reconnectAttempts": 0, "refusedAttempts": 1, **DELAYS}
REFUSED_ONCE = "refused 1 times in a row: "


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Certificate]:
    made = {name: tmp_path_factory.mktemp(name) for name in ("good", "untrusted", "expired")}
    good = make_certificate(made["good"])
    return {
        "good": good,
        "misnamed": good,
        "untrusted": make_certificate(made["untrusted"]),
        "expired": expired_certificate(made["expired"]),
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@on_both_loops
async def test_a_hostile_peer_ends_in_a_classified_failure(tmp_path, certificates, case):
    options: dict[str, Any] = {**QUICK, **case.options}
    if case.tls:
        options["tls"] = {"ca": certificates["good"].public + certificates["expired"].public}
    server = certificates[case.tls].server() if case.tls in certificates else None
    async with manager(tmp_path) as wsm, hostile(case, server) as peer:
        await face(case, wsm, peer, options)


async def face(case: Case, wsm: Manager, peer: Peer, options: dict[str, Any]) -> None:
    """Connect to the peer of the case, and see how that ends."""
    told = Told(wsm)
    async with healthy(wsm, told) as whole:
        tracemalloc.start()
        try:
            await wsm.connect(peer.url.replace("ws", "wss") if case.tls else peer.url, "hostile", **options)
            kind, reason = await end_of(told, case.within_s)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert case.reason in reason
        assert kind is case.kind
        assert peak < case.peak_bytes
        assert tuple(frame["payload"] for frame in told.of("hostile", "frame")) == case.published
        await whole()
        if case.ear is not Ear.DEAF:
            await until(lambda: peer.gone or not peer.dials, "the peer sees the end")


@on_both_loops
async def test_a_close_in_the_middle_of_a_message_leaves_the_end_uncertain():
    async def talk(talk: Talk) -> None:
        await talk.write(frame(TEXT, b"the first half", fin=False), close_frame(1001))

    async with connected(talk) as (live, _):
        assert not (await lost(live)).complete


@on_both_loops
async def test_of_the_pings_of_a_peer_that_takes_no_pongs_only_the_last_is_answered():
    full = asyncio.Event()

    async def talk(talk: Talk) -> bytes:
        await full.wait()
        await talk.write(*(frame(PING, b"%d" % number) for number in range(1000)), frame(TEXT, b"all were read"))
        return await talk.read_until(PONG)

    async with connected(talk) as (live, peer):
        live._connection.pause_writing()  # as the transport does when the peer takes nothing more
        full.set()
        assert await next_of(live) == "all were read"
        live._connection.resume_writing()
        await until(lambda: peer.results, "the peer has its pong")
        assert peer.results == [b"999"]


@on_both_loops
async def test_a_message_that_had_its_time_before_anybody_read_ends_the_reading():
    async def talk(talk: Talk) -> None:
        await talk.write(frame(TEXT, b"whole"), frame(TEXT, b"x", size=9))
        await talk.until_gone()

    async with connected(talk, assembly_timeout_s=0.1) as (live, _):
        await asyncio.sleep(0.3)
        assert "assemblyTimeoutS" in str(await lost(live))


def test_there_are_as_many_hostile_peers_as_promised():
    assert len({case.name for case in CASES}) == len(CASES) >= 60


@asynccontextmanager
async def hostile(case: Case, server: ssl.SSLContext | None) -> AsyncIterator[Peer]:
    """The peer of the case."""
    host = "127.0.0.2" if case.tls == "misnamed" else "127.0.0.1"
    async with listening(scripted(case.does, case.ear), tls=server, host=host) as peer:
        yield peer


@asynccontextmanager
async def healthy(wsm: Manager, told: Told) -> AsyncIterator[Any]:
    """A connection beside, to a peer that counts; what is given fails if a number is missing."""
    sent = 0

    async def talk(talk: Talk) -> None:
        nonlocal sent
        await talk.accept()
        closed = asyncio.create_task(talk.until_closed())
        for number in count():
            await talk.write(frame(TEXT, b"%d" % number))
            sent = number + 1
            await asyncio.wait({closed}, timeout=0.005)
            if closed.done():
                return

    async def whole() -> None:
        goal = sent + 3
        await until(lambda: len(told.of("healthy", "frame")) >= goal, "the healthy connection goes on")
        numbers = [int(frame["payload"]) for frame in told.of("healthy", "frame")]
        assert numbers == list(range(len(numbers)))
        assert not told.of("healthy", "gap")

    async with listening(talk) as peer:
        await wsm.connect(peer.url, "healthy")
        await until(lambda: told.of("healthy", "frame"), "the healthy connection counts")
        yield whole
        await wsm.command("disconnect", id="healthy")
        await until(lambda: peer.gone, "the healthy connection is closed")


class Told:
    """What the manager publishes, sorted by connection and kind of event."""

    def __init__(self, wsm: Manager) -> None:
        self._documents = wsm.sink.documents
        self._read = 0
        self._events: defaultdict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)

    def of(self, connection: str, kind: str) -> list[dict[str, Any]]:
        """All up to now."""
        for document in map(json.loads, self._documents[self._read :]):
            self._read += 1
            self._events[document["subject"], document["type"].rpartition(".")[2]].append(document["data"])
        return self._events[connection, kind]


async def end_of(told: Told, within_s: float) -> tuple[FailureKind, str]:
    """How the first life of the hostile connection has ended: what follows tells how the failure was classified."""

    def ends() -> list[dict[str, Any]]:
        statuses = told.of("hostile", "status")
        return [event for event in statuses if event["status"] in {"Reconnecting", "Disconnected"}]

    await until(ends, "the hostile connection ends", within_s)
    end = ends()[0]
    if end["status"] == "Disconnected":
        assert end["reason"].startswith(REFUSED_ONCE), end
        return FailureKind.REFUSED, end["reason"]
    kind = FailureKind.THROTTLED if end["retryInS"] >= 5 else FailureKind.TRANSIENT
    return kind, end["reason"]
