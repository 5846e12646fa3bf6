"""The state file: full, foreign, newer, locked, and after SIGKILL."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runtime.adapters.embedded.lock import FolderLock
from runtime.adapters.embedded.store import SqliteStore
from runtime.errors import PermanentError, StoreError

pytestmark = pytest.mark.integration
ROOT = Path(__file__).parents[2]


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


WRITES = """
import asyncio, os, signal, sys
from pathlib import Path
from runtime.adapters.embedded.store import SqliteStore

async def main():
    store = await SqliteStore.open(Path(sys.argv[1]))
    for number in range(200):
        await store.put(str(number), b"x" * 1000, None)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


@pytest.mark.parametrize("without_shm", [False, True])
async def test_what_was_written_before_a_sigkill_is_there_again(tmp_path: Path, without_shm: bool):
    path = tmp_path / "state.db"
    await asyncio.to_thread(subprocess.run, [sys.executable, "-c", WRITES, str(path)], cwd=ROOT, check=False)
    assert path.with_name("state.db-wal").stat().st_size > 0
    if without_shm:
        path.with_name("state.db-shm").unlink()
    store = await SqliteStore.open(path)
    try:
        found = await store.get_many([str(number) for number in range(200)])
        assert len(found) == 200
        await store.put("0", b"y", found["0"].etag)
    finally:
        await store.close()


async def test_only_its_owner_may_read_the_state(tmp_path: Path):
    old = os.umask(0)
    try:
        store = await SqliteStore.open(tmp_path / "state.db")
        await store.put("k", b"secret", None)
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in tmp_path.iterdir()}
        await store.close()
        FolderLock(tmp_path / "new").release()
    finally:
        os.umask(old)
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


async def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path):
    with pytest.raises(PermanentError, match=r"the state file .*nowhere/state.db cannot be opened"):
        await SqliteStore.open(tmp_path / "nowhere" / "state.db")
    (tmp_path / "state.db").mkdir()
    with pytest.raises(PermanentError, match="is not a state file of this project"):
        await SqliteStore.open(tmp_path / "state.db")


async def test_a_state_file_of_ours_that_is_damaged_inside_is_an_error_that_says_so(tmp_path: Path):
    path = tmp_path / "state.db"
    store = await SqliteStore.open(path)
    for number in range(50):
        await store.put(str(number), b"x" * 1000, None)
    await store.close()
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"garbage!" * ((len(content) - 4096) // 8))
    with pytest.raises((PermanentError, StoreError), match="state file"):
        await use(path)


async def use(path: Path) -> None:
    store = await SqliteStore.open(path)
    try:
        await store.get_many([str(number) for number in range(50)])
    finally:
        await store.close()


async def test_a_read_that_fails_is_a_store_error(tmp_path: Path):
    store = await SqliteStore.open(tmp_path / "state.db")
    try:
        await store._db.execute("DROP TABLE state")
        with pytest.raises(StoreError, match="the state file failed: no such table"):
            await store.get("k")
        with pytest.raises(StoreError, match="the state file failed: no such table"):
            await store.put("k", b"1", None)
    finally:
        await store.close()
