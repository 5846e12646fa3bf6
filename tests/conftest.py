"""The programs behind a sidecar's components, started when the first test asks for them and shared by all.

A test that stops or pauses one starts its own, by `tests.brokers`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.brokers import Broker, running_mosquitto, running_moto, running_postgres, running_redis
from tests.message_brokers import running_kafka, running_nats, running_rabbitmq

settings.register_profile("busy", deadline=None)  # machines that run tests are busy
settings.load_profile("busy")


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One Redis for all tests that do not stop it."""
    with running_redis(tmp_path_factory.mktemp("redis")) as broker:
        yield broker


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One MQTT broker for all tests that do not stop it."""
    with running_mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.fixture(scope="session")
def postgres() -> Iterator[Broker]:
    """One PostgreSQL for all tests that do not stop it."""
    with running_postgres() as broker:
        yield broker


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One AWS for all tests; its tables and queues are made by whoever needs them."""
    with running_moto(tmp_path_factory.mktemp("moto")) as broker:
        yield broker


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One RabbitMQ for all tests that do not stop it."""
    with running_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


@pytest.fixture(scope="session")
def nats(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One NATS with JetStream for all tests that do not stop it; its streams are made by whoever needs them."""
    with running_nats(tmp_path_factory.mktemp("nats")) as broker:
        yield broker


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One Kafka for all tests that do not stop it."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture
def secrets_file(tmp_path: Path) -> dict[str, str]:
    """A file with one secret, `feed-token`, as the local components want it."""
    path = tmp_path / "secrets.json"
    path.write_text(json.dumps({"feed-token": "s3cret"}))
    return {"SECRETS_FILE": str(path)}
