"""The Secrets port on a real sidecar."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import boto3
import orjson
import pytest

from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.secrets import DaprSecrets
from runtime.errors import NotFoundError, TransientError
from tests.brokers import AWS_REGION, Broker
from tests.contract.sidecars import aws, write_component
from tests.processes import free_ports
from tests.sidecar import Sidecar, running_sidecar

pytestmark = pytest.mark.integration


@pytest.fixture(params=["local.file", "aws.secretmanager"])
async def channel(request: pytest.FixtureRequest, tmp_path: Path, moto: Broker):
    resources = tmp_path / "resources"
    resources.mkdir()
    if request.param == "local.file":
        (tmp_path / "secrets.json").write_bytes(orjson.dumps({"feed-token": "s3cret"}))
        write_component(resources, "vault", "secretstores.local.file", secretsFile=str(tmp_path / "secrets.json"))
    else:
        write_component(resources, "vault", "secretstores.aws.secretmanager", **aws(moto))
        client = boto3.client(
            "secretsmanager",
            endpoint_url=moto.env["AWS_ENDPOINT_URL"],
            region_name=AWS_REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        with suppress(client.exceptions.ResourceExistsException):
            client.create_secret(Name="feed-token", SecretString="s3cret")
    async with running_sidecar(Sidecar("secrets", resources, tmp_path)) as sidecar:
        channel = Channel(f"127.0.0.1:{sidecar.grpc_port}", None)
        yield channel
        await channel.close()


async def test_a_secret_is_read_and_one_that_is_not_there_is_not_found(channel: Channel):
    secrets = DaprSecrets(channel)
    assert await secrets.secret("vault", "feed-token") == "s3cret"
    with pytest.raises(NotFoundError, match="no secret nothing for us in vault"):
        await secrets.secret("vault", "nothing")


async def test_a_store_that_is_not_there_is_not_found(channel: Channel):
    with pytest.raises(NotFoundError, match="nowhere"):
        await DaprSecrets(channel).secret("nowhere", "feed-token")


async def test_without_a_sidecar_a_secret_may_be_there_later():
    (nobody,) = free_ports(1)
    channel = Channel(f"127.0.0.1:{nobody}", None)
    with pytest.raises(TransientError, match="cannot be reached"):
        await DaprSecrets(channel).secret("vault", "feed-token")
    await channel.close()
