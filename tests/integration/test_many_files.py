"""Each connection is an open file, of which many systems allow 1,024 unless asked for more."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.acceptance.manager import managing

pytestmark = pytest.mark.integration


@pytest.fixture
def few_files() -> Iterator[int]:
    """A low limit for the programs that are started, which they may raise; to how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    yield hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_manager_allows_itself_as_many_files_as_the_system_lets_it(tmp_path: Path, few_files: int):
    async with managing(tmp_path, "--ops-port", "0", "--max-connections", "10") as manager:
        assert psutil.Process(manager.process.pid).rlimit(resource.RLIMIT_NOFILE) == (few_files, few_files)
        assert not manager.logged("few_files")


async def test_where_these_are_too_few_for_max_connections_it_says_so(tmp_path: Path, few_files: int):
    if few_files == resource.RLIM_INFINITY:
        return  # there is no such number
    async with managing(tmp_path, "--ops-port", "0", "--max-connections", str(few_files)) as manager:
        (warning,) = manager.logged("few_files")
        assert (warning["allowed"], warning["max_connections"]) == (few_files, few_files)
