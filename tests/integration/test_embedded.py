"""The whole embedded manager in one process: the tail, sinks that fail, the folder, and an orderly end."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import aiohttp
import pytest

from runtime.adapters.embedded.store import SqliteStore
from runtime.adapters.embedded.tail import MAX_LINES
from runtime.errors import PermanentError, PublishError
from runtime.feed import local_feed
from tests.embedded import INVOKE, Called, SinkInHand, embedded
from tests.peers import until

pytestmark = pytest.mark.integration


async def tail(wsm: Called, *topics: str) -> aiohttp.ClientResponse:
    """An open stream; the reader is there when this returns."""
    url = f"{wsm.base}/v1.0/tail"
    params = [("topic", topic) for topic in topics]
    answer = await wsm.session.get(url, params=params, timeout=aiohttp.ClientTimeout(total=60))
    assert (answer.status, answer.content_type) == (200, "application/x-ndjson")
    return answer


async def lines(answer: aiohttp.ClientResponse, count: int) -> list[dict]:
    found: list[dict] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            line = await answer.content.readline()
            assert line.endswith(b"\n"), "the stream has ended"
            if line.strip():
                found.append(json.loads(line))
    return found


# ---- the tail


async def test_the_tail_streams_the_topics_that_were_asked_for(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        everything, some = await tail(wsm), await tail(wsm, "a", "c")
        for topic in "abc":
            await wsm.publish(topic, json.dumps(topic))
        assert [line["topic"] for line in await lines(everything, 3)] == ["a", "b", "c"]
        assert [line["topic"] for line in await lines(some, 2)] == ["a", "c"]
        everything.close()
        some.close()


async def test_the_tail_never_shows_dead_letters(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        answer = await tail(wsm)
        await wsm.publish("websocket-commands", b"secret")
        async with asyncio.timeout(20):
            while not await wsm.invoke("deadLetters"):
                await asyncio.sleep(0.01)
        await wsm.publish("t", b"1")
        seen = await lines(answer, 2)
        assert sorted(line["topic"] for line in seen) == ["t", "websocket-events"]
        assert not wsm.sink.on("websocket-dead-letters")
        answer.close()


async def test_the_stream_ends_whole_when_the_manager_stops(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        answer = await tail(wsm)
        await wsm.publish("t", b"1")
        session, wsm.session = wsm.session, None  # type: ignore[assignment]
        reading = asyncio.create_task(answer.read())
        stopping = asyncio.create_task(wsm.manager.endpoint.stop())
        (line,) = (await asyncio.wait_for(reading, 20)).splitlines()
        assert json.loads(line)["topic"] == "t"
        await stopping
        wsm.session = session


async def test_a_client_that_leaves_is_let_go(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        endpoint = wsm.manager.endpoint
        endpoint._heartbeat_s = 0.02
        answer = await tail(wsm)
        assert await answer.content.readline() == b"\n"  # a heartbeat
        assert endpoint._tail.has_readers
        answer.close()
        await until(lambda: not endpoint._tail.has_readers, "the reader is let go")


async def test_a_client_that_reads_nothing_slows_nobody_and_learns_what_it_has_lost(tmp_path: Path):
    payload = json.dumps("x" * 100_000)
    async with embedded(tmp_path) as wsm:
        slow, quick = await tail(wsm), await tail(wsm)
        count = MAX_LINES // 4
        reading = asyncio.create_task(lines(quick, count))
        for _ in range(count):
            assert (await wsm.publish("t", payload))[0] == 204
        assert len(await reading) == count
        seen = lost = 0
        while seen + lost < count:
            (line,) = await lines(slow, 1)
            if line["type"].endswith(".notice"):
                lost += line["data"]["lost"]
            else:
                seen += 1
        assert seen + lost == count
        assert lost > 0
        slow.close()
        quick.close()


# ---- a sink that is away


async def test_a_sink_that_is_away_pushes_back_on_the_peer_keeps_the_socket_and_loses_nothing(tmp_path: Path):
    is_away = asyncio.Event()

    async def fail(events) -> None:
        if is_away.is_set():
            raise PublishError("the sink is away", retry_after_s=0.05)

    async with local_feed(0.001) as feed, embedded(tmp_path, SinkInHand(fail)) as wsm:
        options = {"queueMaxMessages": 20}
        await wsm.invoke("connect", id="a", url=feed.url, topic="t", autoReconnect=True, options=options)
        await wsm.until(lambda: len(wsm.sink.on("t")) > 20, "frames")
        is_away.set()
        async with asyncio.timeout(20):
            while (view := await wsm.invoke("connection", id="a"))["queuedMessages"] < 20:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        view = await wsm.invoke("connection", id="a")
        assert (view["status"], view["queuedMessages"]) == ("Connected", 20)
        held = len(wsm.sink.on("t"))
        is_away.clear()
        await wsm.until(lambda: len(wsm.sink.on("t")) > held + 100, "frames again")
        sequences = [document["data"]["sequence"] for document in wsm.sink.on("t")]
        assert sequences == list(range(1, len(sequences) + 1))
        numbers = [json.loads(document["data"]["payload"])["n"] for document in wsm.sink.on("t")]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        assert wsm.sink.data("gap") == []
        assert wsm.sink.statuses() == ["Connecting", "Connected"]


# ---- the end


async def test_what_was_read_is_published_before_the_end_and_the_sink_is_closed(tmp_path: Path):
    async with local_feed(0.001) as feed:
        async with embedded(tmp_path) as wsm:
            await wsm.invoke("connect", id="a", url=feed.url, topic="t", autoReconnect=True)
            await wsm.until(lambda: len(wsm.sink.on("t")) > 20, "frames")
        assert wsm.sink.is_closed
        assert wsm.observed.warnings == []
        first = wsm.sink
        assert first.statuses()[-1] == "Connected"
        async with embedded(tmp_path) as wsm:
            await wsm.until(lambda: len(wsm.sink.on("t")) > 20, "frames of the next life")
        (gap,) = wsm.sink.data("gap")
        assert gap["kind"] == "blind"
        assert gap["fromTime"] >= first.on("t")[-1]["data"]["timestamp"]
        assert gap["toTime"] <= wsm.sink.on("t")[0]["data"]["timestamp"]


async def test_an_end_against_a_stuck_sink_is_bounded_said_and_covered_by_the_next_gap(tmp_path: Path):
    stuck = asyncio.Event()

    async def hold(events) -> None:
        if stuck.is_set():
            await asyncio.Event().wait()

    async with local_feed(0.01) as feed:
        async with embedded(tmp_path, SinkInHand(hold), drain_deadline_s=0.5) as wsm:
            await wsm.invoke("connect", id="a", url=feed.url, topic="t", autoReconnect=True)
            await wsm.until(lambda: wsm.sink.on("t"), "frames")
            stuck.set()
            await asyncio.sleep(0.2)
            shown = wsm.sink.on("t")[-1]["data"]
        assert wsm.observed.warnings[-1] == ("drain_incomplete", {"reason": "not done within 0.5 s"})
        async with embedded(tmp_path) as wsm:
            await wsm.until(lambda: wsm.sink.on("t"), "frames of the next life")
        (gap,) = wsm.sink.data("gap")
        lost_from = json.loads(shown["payload"])["n"]
        regained = json.loads(wsm.sink.on("t")[0]["data"]["payload"])["n"]
        assert regained > lost_from + 1
        assert shown["timestamp"] <= gap["fromTime"] <= wsm.sink.on("t")[0]["data"]["timestamp"]


async def test_a_part_that_fails_ends_the_manager_with_its_own_error(tmp_path: Path):
    async def fail(events) -> None:
        raise PermanentError("the sink is gone for good")

    async with embedded(tmp_path, SinkInHand(fail), drain_deadline_s=60) as wsm:
        await wsm.invoke("disconnect", id="nobody")
        await asyncio.wait({wsm.manager.background}, timeout=20)
        error = wsm.manager.background.exception()
        assert isinstance(error, PermanentError)
        assert str(error) == "the sink is gone for good"
        failed_at = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - failed_at < 30  # nobody waits for what cannot be published any more


# ---- the folder


async def test_two_managers_on_one_folder_the_second_is_refused_and_harms_nothing(tmp_path: Path):
    async with embedded(tmp_path) as wsm:
        with pytest.raises(PermanentError, match=rf"in use by another manager \(process {os.getpid()}\)"):
            async with embedded(tmp_path):
                pass
        assert await wsm.invoke("connections") == []
    async with embedded(tmp_path):
        pass


async def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    with pytest.raises(PermanentError, match=r"the data folder .*file/data cannot be used: Not a directory"):
        async with embedded(in_the_way / "data"):
            pass


async def test_a_disk_that_is_full_for_a_while_is_said_and_needs_no_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    opened: list[SqliteStore] = []
    real = SqliteStore.open

    async def open_small(path: Path) -> SqliteStore:
        opened.append(await real(path, max_pages=24))
        return opened[0]

    monkeypatch.setattr(SqliteStore, "open", open_small)
    async with embedded(tmp_path, heartbeat_interval_s=600, lease_s=1800) as wsm:
        tags = {str(n): "x" * 1024 for n in range(50)}
        accepted: list[str] = []
        while True:
            body = {"url": "ws://127.0.0.1:9/", "tags": tags}
            status, answer = await wsm.call("POST", INVOKE + "connect", json=body | {"id": str(len(accepted))})
            if status != 200:
                break
            accepted.append(answer["connectionId"])
        assert accepted
        assert (status, answer["errorCode"]) == (503, "ERR_TRY_AGAIN")
        assert answer["message"] == "the state file is full: free space on its disk; nothing was changed"
        assert (await wsm.call("GET", "/v1.0/healthz"))[0] == 204
        assert {view["id"] for view in await wsm.invoke("connections")} == {*accepted}

        await opened[0]._db.execute("PRAGMA max_page_count = 100000")
        await wsm.invoke("connect", id="after", url="ws://127.0.0.1:9/", tags=tags)
        assert {view["id"] for view in await wsm.invoke("connections")} == {*accepted, "after"}


async def test_an_index_that_cannot_be_read_is_said_and_stops_no_connection(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "state.db")
    await store.put("websocket-index", b"garbage", None)
    await store.close()
    async with embedded(tmp_path, sweep_interval_s=0.05) as wsm:
        await wsm.until(lambda: wsm.observed.warnings, "a warning")
        name, fields = wsm.observed.warnings[0]
        assert name == "sweep_failed"
        assert "websocket-index is not a list of ids" in str(fields["reason"])
        outcome = await wsm.invoke("connect", id="a", url="ws://127.0.0.1:9/")
        assert outcome["status"] == "rejected"
        assert "websocket-index is not a list of ids" in outcome["reason"]
        assert not wsm.manager.background.done()
