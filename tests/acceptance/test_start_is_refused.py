"""A manager that cannot have its folder or its port says who has it, and ends."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.acceptance.manager import ManagerProcess, environment, managing

pytestmark = pytest.mark.acceptance


async def test_a_second_manager_on_a_data_folder_refuses_and_names_the_first(tmp_path: Path):
    async with managing(tmp_path) as manager:
        said = _refused(manager)
        assert f"{tmp_path / 'data'} is in use by another manager (process {manager.process.pid})" in said
        assert await manager.ask("connections") == []  # the first one goes on


async def test_a_taken_port_is_refused_and_its_holder_is_named(tmp_path: Path):
    async with managing(tmp_path) as manager:
        said = _refused(ManagerProcess(tmp_path / "other"), "--port", str(manager.port))
        assert f"port {manager.port} is taken by " in said
        assert f"(process {manager.process.pid})" in said


def _refused(manager: ManagerProcess, *args: str) -> str:
    """The one line that a manager says which cannot start."""
    command = manager.command(*args)
    ended = subprocess.run(command, capture_output=True, check=False, text=True, timeout=30, env=environment())
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("error: ")
    return line
