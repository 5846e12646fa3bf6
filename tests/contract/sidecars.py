"""Components for the sidecar under a contract suite: each store and broker, in one process where it can be."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import boto3
import orjson

from runtime.cli.own_resources import copy_in_order
from runtime.ports import StateStore, Stored
from tests.brokers import AWS_ACCOUNT, AWS_REGION, Broker
from tests.sidecar import COMPONENTS

STORES = ("redis", "sqlite", "postgres", "dynamodb", "in-memory")
TABLE = "contract"


def write_component(folder: Path, name: str, kind: str, **metadata: str) -> None:
    """A component as a file; JSON is YAML."""
    items = [{"name": key, "value": value} for key, value in metadata.items()]
    spec = {"type": kind, "version": "v2" if kind == "state.postgresql" else "v1", "metadata": items}
    document = {"apiVersion": "dapr.io/v1alpha1", "kind": "Component", "metadata": {"name": name}, "spec": spec}
    (folder / f"{name}.yaml").write_bytes(orjson.dumps(document))


def write_stores(folder: Path, redis: Broker, postgres: Broker, moto: Broker) -> None:
    """A component for each of STORES, by that name, and the secret store `secrets`."""
    folder.mkdir()
    everywhere = {"keyPrefix": "none"}
    write_component(folder, "redis", "state.redis", redisHost=redis.env["REDIS_HOST"], redisPassword="", **everywhere)
    write_component(folder, "sqlite", "state.sqlite", connectionString=str(folder.parent / "state.db"), **everywhere)
    url = postgres.env["POSTGRES_CONNECTION_STRING"]
    write_component(folder, "postgres", "state.postgresql", connectionString=url, **everywhere)
    write_component(folder, "dynamodb", "state.aws.dynamodb", table=TABLE, **aws(moto), **everywhere)
    write_component(folder, "in-memory", "state.in-memory", **everywhere)
    secrets = folder.parent / "secrets.json"
    secrets.write_bytes(orjson.dumps({"feed-token": "s3cret"}))
    write_component(folder, "secrets", "secretstores.local.file", secretsFile=str(secrets))
    make_table(moto)


def aws(moto: Broker) -> dict[str, str]:
    """How a component finds moto."""
    env = moto.env
    return {
        "endpoint": env["AWS_ENDPOINT_URL"],
        "region": AWS_REGION,
        "accessKey": env["AWS_ACCESS_KEY_ID"],
        "secretKey": env["AWS_SECRET_ACCESS_KEY"],
    }


def write_broker(folder: Path, kind: str, broker: Broker) -> None:
    """The pub/sub `pubsub` on Redis, or on SNS and SQS, or as in a component set, handing over one event at a time."""
    if kind == "redis":
        host = broker.env["REDIS_HOST"]
        write_component(folder, "pubsub", "pubsub.redis", redisHost=host, redisPassword="", concurrency="1")
    elif kind == "snssqs":
        more = {"accountId": AWS_ACCOUNT, "assetsManagementTimeoutSeconds": "30", "concurrencyMode": "single"}
        write_component(folder, "pubsub", "pubsub.aws.snssqs", **aws(broker), **more)
    else:
        (as_it_is := folder.parent / "as-it-is").mkdir()
        shutil.copy(COMPONENTS / kind / "pubsub.yaml", as_it_is)
        shutil.copytree(copy_in_order(as_it_is, folder.parent / "in-order"), folder, dirs_exist_ok=True)


def make_table(moto: Broker) -> None:
    """The table that the DynamoDB store needs."""
    client = boto3.client(
        "dynamodb",
        endpoint_url=moto.env["AWS_ENDPOINT_URL"],
        region_name=AWS_REGION,
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    if TABLE not in client.list_tables()["TableNames"]:
        client.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )


class Prefixed:
    """A store in which each test has keys of its own."""

    def __init__(self, store: StateStore, prefix: str | None = None) -> None:
        self._store, self._prefix = store, prefix or f"{uuid4().hex}."

    def on(self, store: StateStore) -> Prefixed:
        """The same keys by way of another store."""
        return Prefixed(store, self._prefix)

    async def get(self, key: str) -> Stored | None:
        return await self._store.get(self._prefix + key)

    async def get_many(self, keys: Sequence[str]) -> dict[str, Stored]:
        found = await self._store.get_many([self._prefix + key for key in keys])
        return {key.removeprefix(self._prefix): stored for key, stored in found.items()}

    async def put(self, key: str, value: bytes, etag: str | None) -> None:
        await self._store.put(self._prefix + key, value, etag)

    async def delete(self, key: str, etag: str) -> None:
        await self._store.delete(self._prefix + key, etag)
