"""The state file: full, foreign, newer, locked, and after SIGKILL."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.adapters.embedded.lock import FolderLock
from runtime.adapters.embedded.store import SqliteStore
from runtime.errors import PermanentError, StoreError
from runtime.models.events import Event

pytestmark = pytest.mark.integration


async def test_a_full_file_is_a_clear_error_and_changes_nothing(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "state.db", max_pages=12)
    try:
        await store.put("kept", b"1", None)
        with pytest.raises(StoreError, match="the state file is full"):
            await store.put("big", b"x" * 200_000, None)
        kept = await store.get("kept")
        assert kept is not None
        assert kept.value == b"1"
        await store.put("kept", b"2", kept.etag)
    finally:
        await store.close()


async def test_a_file_that_is_not_ours_is_named_and_left_untouched(tmp_path: Path):
    path = tmp_path / "state.db"
    foreign = sqlite3.connect(path)
    foreign.execute("CREATE TABLE theirs (x)")
    foreign.commit()
    foreign.close()
    for content in [b"garbage " * 1000, path.read_bytes()]:
        path.write_bytes(content)
        with pytest.raises(PermanentError, match="left untouched"):
            await SqliteStore.open(path)
        assert path.read_bytes() == content


async def test_a_file_of_a_newer_release_is_refused_with_both_versions(tmp_path: Path):
    path = tmp_path / "state.db"
    await (await SqliteStore.open(path)).close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 7")
    db.close()
    with pytest.raises(PermanentError, match="format 7, this one reads 1"):
        await SqliteStore.open(path)


async def test_a_folder_that_is_in_use_is_refused_and_free_after_a_sigkill(tmp_path: Path):
    code = (
        "import sys, time; from pathlib import Path; from runtime.adapters.embedded.lock import FolderLock;"
        "lock = FolderLock(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        await asyncio.to_thread(holder.stdout.readline)
        with pytest.raises(PermanentError, match=rf"in use by another manager \(process {holder.pid}\)"):
            FolderLock(tmp_path)
    finally:
        holder.kill()
        holder.communicate()
    FolderLock(tmp_path).release()


async def test_dead_letters_are_kept_whole_for_their_owner_only(tmp_path: Path):
    path = tmp_path / "dead-letters.jsonl"
    letters = DeadLetterFile(path)
    event = Event("1", "websocket-dead-letters", "t", "s", "2026-01-01T00:00:00Z", b"\xff\x00", "text/plain")
    await letters.add(event)
    with path.open("ab") as file:
        file.write(b'{"torn')
    assert letters.read() == [event]
    assert path.stat().st_mode & 0o077 == 0
