"""An upgrade: what earlier versions have stored is read, served and rewritten, and what newer ones add is kept.

`stored/` holds the state files of managers of earlier commits, after which the files are named: five connections were
made, one of them disconnected, one removed and one given messages while its peer was away, and the process was killed.
Changed since: ports are placeholders, the host's name, the year of the times.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from runtime.adapters.embedded.store import SqliteStore
from runtime.feed import Feed, local_feed
from runtime.models.connection import DaprStateStoreEntry
from tests.peers import until
from tests.running import Manager, manager

pytestmark = pytest.mark.integration

STORED = sorted((Path(__file__).parent / "stored").glob("*.json"))
NEWER = {"schemaVersion": 2, "flavour": {"deep": [1, None]}}
NEWER_OPTION = {"compressionLevel": 9}


@pytest.mark.parametrize("path", STORED, ids=[path.stem for path in STORED])
async def test_what_an_earlier_version_has_stored_is_read_served_and_rewritten(path: Path, tmp_path: Path):
    async with local_feed(0.02) as feed:
        old = await _store(tmp_path, path, feed)
        async with manager(tmp_path, instance_id="old-host") as running:
            await _until_connected(running, "live", "quiet", "away")
            await until(lambda: {data["websocketId"] for data in running.events("frame")} == {"live", "away"}, "frames")
            await until(lambda: feed.heard.count("it waits") == 2, "what waited is sent")
            views = {view["id"]: view for view in await running.command("connections", full=True)}
            assert views.keys() == {"live", "quiet", "kept", "away"}
            assert (views["kept"]["status"], views["kept"]["desired"]) == ("Disconnected", "disconnected")
            for id_ in ("live", "quiet", "away"):
                before, view = old[f"websocket-{id_}"], views[id_]
                kept = ("url", "topic", "tags", "autoReconnect", "generation")
                assert [view[key] for key in kept] == [before[key] for key in kept]
                assert before["options"].items() <= view["options"].items()
                assert view["epoch"] > before["epoch"]
                assert view["instanceId"] == "old-host"
            gaps = {gap["connectionId"]: gap for gap in running.events("gap")}
            assert gaps["live"]["fromTime"] == old["websocket.instance.old-host"]["readUntil"]
            assert (await running.command("reconnect", id="kept"))["status"] == "accepted"
            await _until_connected(running, "kept")
    now = await _read(tmp_path)
    for id_ in ("live", "quiet", "away", "kept"):
        record = now[f"websocket-{id_}"]
        assert record.keys() >= DaprStateStoreEntry(id="x").to_wire().keys()
        assert record["createdAt"] == old[f"websocket-{id_}"]["createdAt"]


async def test_what_a_newer_version_has_added_survives_commands_and_the_owners_writes(tmp_path: Path):
    async with local_feed(0.02) as feed:
        old = await _store(tmp_path, STORED[-1], feed, newer=True)
        async with manager(tmp_path) as running:
            await _until_connected(running, "live", "quiet", "away")
            assert (await running.command("setTags", id="live", tags={"by": "us"}))["status"] == "accepted"
            assert (await running.command("startPublish", id="quiet", topic="t"))["status"] == "accepted"
    now = await _read(tmp_path)
    for id_ in ("live", "quiet", "away", "kept"):
        record, before = now[f"websocket-{id_}"], old[f"websocket-{id_}"]
        assert {key: record[key] for key in NEWER} == NEWER
        assert record["options"] == {**before["options"], **record["options"]} | NEWER_OPTION
    assert now["websocket-live"]["tags"] == {"by": "us"}
    assert now["websocket-live"]["epoch"] > old["websocket-live"]["epoch"], "this test has seen no write of an owner"


async def _store(folder: Path, path: Path, feed: Feed, *, newer: bool = False) -> dict[str, Any]:
    """Make the state file that a manager finds; what it holds, by key."""
    port = feed.url.split(":")[2].partition("/")[0]
    found = json.loads(path.read_text().replace("{feed}", port).replace("{away}", port))
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    for item in found["websocket.outbox.away"]["items"]:
        item["expiresAt"] = later
    if newer:
        for id_ in found["websocket-index"]:
            found[f"websocket-{id_}"] |= NEWER
            found[f"websocket-{id_}"]["options"] |= NEWER_OPTION
    async with _opened(folder) as store:
        for key, value in found.items():
            await store.put(key, json.dumps(value).encode(), None)
    return dict(found)


async def _read(folder: Path) -> dict[str, Any]:
    async with _opened(folder) as store:
        keys = [f"websocket-{id_}" for id_ in ("live", "quiet", "away", "kept")]
        return {key: json.loads(stored.value) for key, stored in (await store.get_many(keys)).items()}


@asynccontextmanager
async def _opened(folder: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(folder / "state.db")
    try:
        yield store
    finally:
        await store.close()


async def _until_connected(running: Manager, *ids: str) -> None:
    async with asyncio.timeout(20):
        while True:
            views = await running.command("connections")
            if {view["id"] for view in views if view["status"] == "Connected"} >= set(ids):
                return
            await asyncio.sleep(0.05)
