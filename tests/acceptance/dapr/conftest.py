"""One stack for all faults: each test starts again what it has ended, and uses connections of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.acceptance.dapr.fleet import Fleet, running_fleet
from tests.acceptance.dapr.stack import Stack, running_stack
from tests.acceptance.feed import FeedProcess, feeding


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def lasting_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path_factory.mktemp("stack")) as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="session")
async def stack(lasting_stack: Stack) -> Stack:
    """Handlers, host and a third app apart, all of them up."""
    await lasting_stack.heal()
    return lasting_stack


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def feed(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[FeedProcess]:
    """A peer that counts."""
    async with feeding(tmp_path_factory.mktemp("feed")) as feed:
        yield feed


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def lasting_fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fleet]:
    """For a file, not for all of them: what it publishes costs a third of a core."""
    async with running_fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest_asyncio.fixture(loop_scope="session")
async def fleet(lasting_fleet: Fleet) -> Fleet:
    """Three hosts that share connections, all of them up, with a new account."""
    await lasting_fleet.settle()
    return lasting_fleet
