"""What a socket leaves in memory when it is lost, and while it is idle after a large message."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest
from websockets.frames import Frame

from tests.peers import TEXT, Talk, frame, listening, until
from tests.running import manager

pytestmark = pytest.mark.integration

SOCKETS = 20
LARGE = 700_000


async def test_a_lost_socket_is_freed_without_the_garbage_collector(tmp_path: Path):
    hang_up = asyncio.Event()

    async def talk(peer: Talk) -> None:
        await peer.accept()
        if not hang_up.is_set():
            await hang_up.wait()
            return
        await peer.until_closed()

    async with listening(talk) as peer, manager(tmp_path) as running:
        for number in range(SOCKETS):
            await running.connect(peer.url, f"c{number}")
        await running.until("Connected", SOCKETS)
        gc.collect()
        gc.disable()
        try:
            hang_up.set()
            await running.until("Connected", 2 * SOCKETS)
            await asyncio.sleep(0.1)
            assert _connections() == SOCKETS
        finally:
            gc.enable()


async def test_no_idle_socket_holds_the_message_that_came_last(tmp_path: Path):
    async def talk(peer: Talk) -> None:
        await peer.accept()
        await peer.write(frame(TEXT, b"x" * LARGE))
        await peer.until_closed()

    async with listening(talk) as peer, manager(tmp_path) as running:
        await running.connect(peer.url)
        await until(lambda: any(len(document) > LARGE for document in running.sink.documents), "it is published")
        running.sink.documents.clear()
        gc.collect()
        assert not [each for each in _large_objects() if len(each) >= LARGE]


def _connections() -> int:
    return sum(type(each).__name__ == "_Connection" for each in gc.get_objects())


def _large_objects() -> list[bytes]:
    """What frames hold, which is all that could hold a message here."""

    return [bytes(each.data) for each in gc.get_objects() if isinstance(each, Frame)]
