"""One sidecar with every store, shared by all contract suites."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from runtime.adapters.dapr.channel import Sidecar as Channel
from tests.brokers import Broker
from tests.contract.sidecars import write_stores
from tests.sidecar import Sidecar, started_sidecar


@pytest.fixture(scope="session")
def stores_sidecar(
    redis: Broker, postgres: Broker, moto: Broker, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Sidecar]:
    """A sidecar with a component for each store; nothing in it is stopped by a test."""
    folder = tmp_path_factory.mktemp("stores")
    write_stores(folder / "resources", redis, postgres, moto)
    sidecar = Sidecar("contract", folder / "resources", folder, env={"AWS_EC2_METADATA_DISABLED": "true"})
    with started_sidecar(sidecar):
        yield sidecar


@pytest.fixture
async def channel(stores_sidecar: Sidecar) -> AsyncIterator[Channel]:
    """A channel to it."""
    channel = Channel(f"127.0.0.1:{stores_sidecar.grpc_port}", None)
    yield channel
    await channel.close()
