"""connect → frames → SIGKILL → start again → frames under a new epoch → disconnect, on the real process."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from runtime.feed import local_feed
from tests.acceptance.manager import ManagerProcess

pytestmark = pytest.mark.acceptance


async def test_a_connection_outlives_its_process_and_its_hole_is_announced(tmp_path: Path):
    manager = ManagerProcess(tmp_path)
    async with local_feed(0.02) as feed:
        await manager.start()
        try:
            outcome = await manager.ask("connect", id="a", url=feed.url, topic="t", autoReconnect=True)
            assert outcome["status"] == "accepted"
            await manager.until(lambda: len(manager.data("frame")) > 20)
            manager.kill()
            first_epoch = manager.data("frame")[-1]["epoch"]

            await manager.start()
            await manager.until(lambda: manager.data("frame")[-1]["epoch"] > first_epoch)
            (gap,) = manager.data("gap")
            assert gap["kind"] == "blind"

            assert (await manager.ask("disconnect", id="a"))["status"] == "accepted"
            await manager.until(lambda: manager.data("status")[-1]["status"] == "Disconnected")
            assert await manager.ask("connections") == []
            assert manager.stop() == 0
        finally:
            manager.kill()

    for epoch in {frame["epoch"] for frame in manager.data("frame")}:
        sequences = [frame["sequence"] for frame in manager.data("frame") if frame["epoch"] == epoch]
        assert sequences == list(range(1, len(sequences) + 1))
    numbers = [json.loads(frame["payload"])["n"] for frame in manager.data("frame")]
    assert numbers == sorted(numbers)
    assert "secret" not in manager.out.read_text()
