"""Thousands of quiet connections: of a manager that finds them in its store, and of the library alone."""

from __future__ import annotations

import resource
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson

from runtime.adapters.embedded.store import SqliteStore
from runtime.models.connection import DaprStateStoreEntry, WebSocketConnection
from runtime.models.constants import DaprConstants, connection_key
from runtime.ports import Limits
from tests.acceptance.feed import FeedProcess
from tests.acceptance.manager import ManagerProcess, managing
from tests.bench import references
from tests.peers import until

HANDSHAKES = Limits().max_handshakes
SPARE_FILES = 1_000
PATIENCE_S = 120
PATH = "quiet/0"


def allow_files(connections: int) -> int:
    """As many connections as a process may have, at most so many: programs started from now on may open them."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return connections if most == resource.RLIM_INFINITY else min(connections, most - SPARE_FILES)


class Crowd:
    """Connections of one process. `others`: the lines that it has printed about something else than a connect."""

    def __init__(self, pid: int, out: Path, mark: bytes) -> None:
        self.pid, self._mark = pid, mark
        self._out = out.open("rb")
        self._rest = b""
        self._connects = 0
        self.others: list[bytes] = []

    @property
    def connects(self) -> int:
        """How many times one of them has connected, up to now."""
        *lines, self._rest = (self._rest + self._out.read()).split(b"\n")
        others = [line for line in lines if self._mark not in line]
        self.others += others
        self._connects += len(lines) - len(others)
        return self._connects

    async def until(self, connects: int) -> None:
        """Return when so many times one of them has connected."""
        await until(lambda: self.connects >= connects, f"{connects} connects", PATIENCE_S)

    def close(self) -> None:
        """Look no more."""
        self._out.close()


@asynccontextmanager
async def of_manager(folder: Path, feed: FeedProcess, count: int, *args: str) -> AsyncIterator[tuple[Crowd, int]]:
    """A manager that holds them, all connected, and its port for operators."""
    folder.mkdir()
    await _store(folder / "data", [feed.url(f"{PATH}/{number}") for number in range(count)])
    async with managing(folder, "--ops-port", "0", *args) as manager:
        crowd = Crowd(manager.process.pid, manager.out, b'"status":"Connected"')
        try:
            await crowd.until(count)
            yield crowd, ops_port(manager)
        finally:
            crowd.close()


@asynccontextmanager
async def of_library(folder: Path, feed: FeedProcess, count: int) -> AsyncIterator[Crowd]:
    """The library alone, as many handshakes at a time; all are connected."""
    folder.mkdir()
    out = folder / "out"
    async with references.running("bare_hold", feed.url(PATH), str(count), str(HANDSHAKES), out=out) as pid:
        crowd = Crowd(pid, out, b"connected")
        try:
            await crowd.until(count)
            yield crowd
        finally:
            crowd.close()


def ops_port(manager: ManagerProcess) -> int:
    """Where a manager answers an operator."""
    return int(manager.logged("started")[-1]["ops"].rpartition(":")[2])


async def _store(data: Path, urls: Sequence[str]) -> None:
    """Records as a manager has left them that knew of nothing but these commands."""
    data.mkdir()
    store = await SqliteStore.open(data / "state.db")
    now = datetime.now(UTC)
    try:
        ids = [f"c{number}" for number in range(len(urls))]
        for id_, url in zip(ids, urls, strict=True):
            record = WebSocketConnection.create(id_, now).changed(
                url=url, topic="prices", auto_reconnect=True, generation=1, updated_at=now
            )
            await store.put(connection_key(id_), DaprStateStoreEntry.from_connection(record).to_json(), None)
        await store.put(DaprConstants.INDEX_KEY, orjson.dumps(ids), None)
    finally:
        await store.close()
