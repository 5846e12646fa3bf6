"""The file of dead letters: whole, private, and safe against faults of its disk."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from runtime.adapters.embedded.dead_letters import DeadLetterFile
from runtime.errors import StoreError
from runtime.models.dead_letter import DeadLetter
from runtime.models.events import Event
from runtime.models.wire import WireTime

pytestmark = pytest.mark.integration
NOW = "2026-01-31T12:00:00.000000Z"
URL = "ws://127.0.0.1:9/?key=secret"


def letter(id_: str = "1", reason: str = "because", data: bytes = b"\xff\x00") -> DeadLetter:
    return DeadLetter.of(Event(id_, "t", "type", "a", NOW, data, "image/png"), reason, WireTime.parse(NOW))


# ---- the file


async def test_letters_are_kept_whole_in_order_for_their_owner_only(tmp_path: Path):
    path = tmp_path / "dead-letters.jsonl"
    letters = DeadLetterFile(path)
    old = os.umask(0)
    try:
        for number in range(3):
            await letters.add(letter(str(number)).to_json())
        await letters.remove([letter("1")])
    finally:
        os.umask(old)
    assert await letters.read() == [letter("0"), letter("2")]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [json.loads(line)["id"] for line in path.read_text().splitlines()] == ["0", "2"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["dead-letters.jsonl"]


async def test_no_file_means_no_letters(tmp_path: Path):
    letters = DeadLetterFile(tmp_path / "dead-letters.jsonl")
    assert await letters.read() == []
    await letters.remove([letter()])
    assert await letters.read() == []


async def test_a_torn_last_line_is_passed_over_and_the_next_letter_starts_on_a_line_of_its_own(tmp_path: Path):
    path = tmp_path / "dead-letters.jsonl"
    letters = DeadLetterFile(path)
    await letters.add(letter("1").to_json())
    with path.open("ab") as file:
        file.write(letter("torn").to_json()[:40])
    assert await letters.read() == [letter("1")]
    await letters.add(letter("2").to_json())
    assert await letters.read() == [letter("1"), letter("2")]
    await letters.remove([letter("1")])
    assert path.read_bytes().splitlines() == [letter("torn").to_json()[:40], letter("2").to_json()]


async def test_of_two_letters_that_are_the_same_one_is_taken_out(tmp_path: Path):
    letters = DeadLetterFile(tmp_path / "dead-letters.jsonl")
    for reason in ("x", "because", "because"):
        await letters.add(letter(reason=reason).to_json())
    await letters.remove([letter()])
    assert [found.reason for found in await letters.read()] == ["x", "because"]


async def test_many_that_add_and_remove_at_once_lose_nothing_even_if_they_are_cancelled(tmp_path: Path):
    letters = DeadLetterFile(tmp_path / "dead-letters.jsonl")
    for number in range(50):
        await letters.add(letter(f"old{number}").to_json())
    tasks = [asyncio.create_task(letters.add(letter(f"new{number}").to_json())) for number in range(50)]
    tasks += [asyncio.create_task(letters.remove([letter(f"old{number}")])) for number in range(50)]
    await asyncio.sleep(0.002)
    for task in tasks[::7]:
        task.cancel()
    await asyncio.wait(tasks)
    left = {found.id for found in await letters.read()}
    done = [task for task in tasks if not task.cancelled()]
    assert {f"new{number}" for number in range(50) if tasks[number] in done} <= left
    assert not {f"old{number}" for number in range(50) if tasks[50 + number] in done} & left


async def test_a_full_disk_is_an_error_and_leaves_no_half_a_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "dead-letters.jsonl"
    letters = DeadLetterFile(path)
    await letters.add(letter("0").to_json())
    await letters.add(letter("1").to_json())
    real, calls = os.write, [0]

    def write_a_little(fd: int, data: Any) -> int:
        calls[0] += 1
        if calls[0] % 2:
            return real(fd, data[:10])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", write_a_little)
        with pytest.raises(StoreError, match="a dead letter could not be kept: No space left on device"):
            await letters.add(letter("2").to_json())
        with pytest.raises(StoreError, match="could not be rewritten: No space left"):
            await letters.remove([letter("1")])
    assert path.read_bytes() == letter("0").to_json() + b"\n" + letter("1").to_json() + b"\n"
    await letters.add(letter("3").to_json())
    assert await letters.read() == [letter("0"), letter("1"), letter("3")]


async def test_a_file_that_cannot_be_read_is_an_error_not_an_empty_list(tmp_path: Path):
    (tmp_path / "dead-letters.jsonl").mkdir()
    with pytest.raises(StoreError, match="the dead letters cannot be read: Is a directory"):
        await DeadLetterFile(tmp_path / "dead-letters.jsonl").read()


# ---- replay, through a running manager
