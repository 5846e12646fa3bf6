"""Redis, mosquitto, PostgreSQL and moto as programs of their own, each on a free port of the loopback interface."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from socket import create_connection
from typing import Any

import boto3

from tests.processes import Process, find_program, free_ports, is_open

POSTGRES_BINARIES = [str(folder) for folder in sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
AWS_REGION = "eu-west-1"
AWS_ACCOUNT = "123456789012"


@dataclass(frozen=True, slots=True)
class Broker:
    """A running program. `env`: what a sidecar's components read to find it."""

    port: int
    env: dict[str, str]
    process: Process


@contextmanager
def running_redis(folder: Path, *, keeps: bool = False) -> Iterator[Broker]:
    """A Redis that keeps nothing on disk, or one that still knows everything when it was killed and is back.

    It writes before it answers, and what is written outlives the process. It never waits for the disk: a sync for each
    call would let a slow disk decide how fast the publisher catches up, and no test takes the machine's power away.
    """
    program = find_program("redis-server", "apt-get install redis-server")
    (port,) = free_ports(1)
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    options += ["--appendonly", "yes" if keeps else "no", "--appendfsync", "no"]
    process = Process("redis", [program, *options], folder, lambda: is_open(port))
    with started(process):
        yield Broker(port, {"REDIS_HOST": f"127.0.0.1:{port}"}, process)


@contextmanager
def running_mosquitto(folder: Path) -> Iterator[Broker]:
    """An MQTT broker. With a port alone it listens on the loopback interface only, and takes anybody."""
    program = find_program("mosquitto", "apt-get install mosquitto", "/usr/sbin")
    (port,) = free_ports(1)
    process = Process("mosquitto", [program, "-p", str(port)], folder, lambda: is_open(port))
    with started(process):
        yield Broker(port, {"MQTT_URL": f"mqtt://127.0.0.1:{port}"}, process)


@contextmanager
def running_postgres() -> Iterator[Broker]:
    """A PostgreSQL with one database, `postgres`, that lets its user of that name in. It never runs as root."""
    how = "apt-get install postgresql"
    initdb = find_program("initdb", how, *POSTGRES_BINARIES)
    postgres = find_program("postgres", how, *POSTGRES_BINARIES)
    (port,) = free_ports(1)
    folder = Path(tempfile.mkdtemp(prefix="wsm-postgres-"))  # not pytest's, which another user cannot enter
    try:
        as_user = _as_postgres(folder)
        data = folder / "data"
        # Nothing here outlives a test: it need not reach the disk.
        first = [
            *as_user,
            initdb,
            "-D",
            str(data),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale",
            "C",
            "-N",
        ]
        made = Process("initdb", first, folder, lambda: True)
        made.start()
        assert made.wait_ended() == 0, made.tail()
        options = ["-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]
        process = Process("postgres", [*as_user, postgres, "-D", str(data), *options], folder, lambda: is_open(port))
        with started(process, signal.SIGINT):
            url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"
            yield Broker(port, {"POSTGRES_CONNECTION_STRING": url}, process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running_moto(folder: Path) -> Iterator[Broker]:
    """An AWS in memory."""
    (port,) = free_ports(1)
    code = "from moto.server import main; main()"
    command = [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)]
    process = Process("moto", command, folder, lambda: is_open(port), patience_s=120)
    env = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": AWS_REGION,
        "AWS_ACCOUNT_ID": AWS_ACCOUNT,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with started(process):
        yield Broker(port, env, process)


def aws_client(moto: Broker, service: str) -> Any:
    """A client of one of its services; to be closed."""
    return boto3.client(
        service,
        endpoint_url=moto.env["AWS_ENDPOINT_URL"],
        region_name=moto.env["AWS_REGION"],
        aws_access_key_id=moto.env["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=moto.env["AWS_SECRET_ACCESS_KEY"],
    )


def make_table(moto: Broker, name: str) -> None:
    """A table as the state store wants it; harmless when it is there."""
    with closing(aws_client(moto, "dynamodb")) as tables:
        if name not in tables.list_tables()["TableNames"]:
            tables.create_table(
                TableName=name,
                KeySchema=[{"AttributeName": "key", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "key", "AttributeType": "S"}],
                BillingMode="PAY_PER_REQUEST",
            )


def make_queue(moto: Broker, name: str) -> None:
    """A queue for the input binding; harmless when it is there."""
    with closing(aws_client(moto, "sqs")) as queues:
        queues.create_queue(QueueName=name)


def publish_mqtt(port: int, topic: str, payload: bytes) -> None:
    """Publish a message, and wait until the broker has it (QoS 1)."""
    name = topic.encode()
    with create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rb") as answers:
        connection.sendall(_mqtt(0x10, b"\0\4MQTT\4\2\0\x3c\0\0"))  # version 3.1.1, clean session, no client id
        assert answers.read(4) == b"\x20\2\0\0", "the broker refused the connection"
        connection.sendall(_mqtt(0x32, len(name).to_bytes(2, "big") + name + b"\0\1" + payload))
        assert answers.read(4) == b"\x40\2\0\1", "the broker did not take the message"


def _mqtt(kind: int, body: bytes) -> bytes:
    """A packet: its kind, its length in groups of seven bits, its body."""
    length, rest = bytearray(), len(body)
    while True:
        rest, group = divmod(rest, 128)
        length.append(group | (128 if rest else 0))
        if not rest:
            return bytes([kind, *length]) + body


@contextmanager
def started(process: Process, number: int | None = None) -> Iterator[None]:
    """Run it for the block; end it by a signal, or kill it."""
    try:
        process.start()
        yield
    finally:
        if number is not None and process.is_alive:
            process.resume()
            process.stop(number)
        process.kill()


def _as_postgres(folder: Path) -> list[str]:
    """What to put in front of a command, since PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    setpriv = find_program("setpriv", "apt-get install util-linux")
    try:
        user = pwd.getpwnam("postgres")
    except KeyError:
        raise AssertionError("there is no user postgres: apt-get install postgresql") from None
    os.chown(folder, user.pw_uid, user.pw_gid)
    return [setpriv, f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
