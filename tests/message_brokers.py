"""RabbitMQ, NATS with JetStream and Kafka as programs of their own, each on free ports of the loopback interface."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import create_connection
from typing import Any

from tests.brokers import Broker, started
from tests.processes import Process, find_program, free_ports, is_open

FETCH_KAFKA = Path(__file__).parent / "kafka" / "fetch.sh"
KAFKA_ID = "AAAAAAAAAAAAAAAAAAAAAA"  # of its cluster of one
PARTITIONS = 4
KAFKA = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
log.dirs={data}
num.partitions={partitions}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
log.cleaner.enable=false
"""
JVM = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:-UsePerfData")
RABBITMQ = """\
listeners.tcp.local = 127.0.0.1:{port}
log.console = true
log.console.level = warning
"""
ON_LOOPBACK = "-noinput -kernel inet_dist_use_interface {127,0,0,1} +sbwt none"  # and no busy waiting of the scheduler


@contextmanager
def running_rabbitmq(folder: Path) -> Iterator[Broker]:
    """A RabbitMQ as the user that runs the test, with an epmd of its own, by which Erlang finds its nodes."""
    how = "apt-get install rabbitmq-server"
    epmd = find_program("epmd", how)
    # Debian's on PATH is a wrapper that becomes another user.
    rabbitmq = shutil.which("rabbitmq-server", path="/usr/lib/rabbitmq/bin") or find_program("rabbitmq-server", how)
    port, between_nodes, names = free_ports(3)
    config, plugins = folder / "rabbitmq.conf", folder / "enabled_plugins"
    config.write_text(RABBITMQ.format(port=port))
    plugins.write_text("[].\n")
    env = {
        "HOME": str(folder),  # there it keeps its cookie
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_ALLOW_INPUT": "1",  # or a shell stays in front of it
        "RABBITMQ_CONFIG_FILE": str(config),
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_DIST_PORT": str(between_nodes),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(plugins),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
        "RABBITMQ_NODENAME": f"wsm{port}@localhost",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": ON_LOOPBACK,
    }
    finder = Process("epmd", [epmd, "-port", str(names), "-address", "127.0.0.1"], folder, lambda: is_open(names))
    process = Process("rabbitmq", [rabbitmq], folder, lambda: is_open(port), env=env)
    with started(finder), started(process):
        yield Broker(port, {"RABBITMQ_URL": f"amqp://guest:guest@127.0.0.1:{port}"}, process)


@contextmanager
def running_nats(folder: Path) -> Iterator[Broker]:
    """A NATS server with JetStream, which keeps its streams in the folder."""
    program = find_program("nats-server", "apt-get install nats-server", "/usr/sbin")
    (port,) = free_ports(1)
    command = [program, "-a", "127.0.0.1", "-p", str(port), "-js", "-sd", str(folder / "jetstream")]
    process = Process("nats", command, folder, lambda: is_open(port))
    with started(process):
        yield Broker(port, {"NATS_URL": f"nats://127.0.0.1:{port}"}, process)


def make_streams(nats: Broker, topics: Iterable[str]) -> None:
    """A stream for each topic, of that name; harmless when it is there."""
    for topic in topics:
        answer = _ask_nats(nats.port, f"$JS.API.STREAM.CREATE.{topic}", {"name": topic, "subjects": [topic]})
        assert "error" not in answer, answer


@contextmanager
def running_kafka(folder: Path) -> Iterator[Broker]:
    """A Kafka of one node, which makes topics as they are asked for."""
    found = subprocess.run([FETCH_KAFKA], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    java = [find_program("java", "apt-get install default-jre-headless"), *JVM, "-cp", f"{found.stdout.strip()}/*"]
    port, controller = free_ports(2)
    config = folder / "server.properties"
    settings = {"port": port, "controller": controller, "data": folder / "data", "partitions": PARTITIONS}
    config.write_text(KAFKA.format(**settings))
    first = [*java, "kafka.tools.StorageTool", "format", "-t", KAFKA_ID, "-c", str(config)]
    made = Process("kafka-format", first, folder, lambda: True)
    made.start()
    assert made.wait_ended() == 0, made.tail()
    process = Process("kafka", [*java, "kafka.Kafka", str(config)], folder, lambda: is_open(port))
    with started(process):
        yield Broker(port, {"KAFKA_BROKERS": f"127.0.0.1:{port}"}, process)


def _ask_nats(port: int, subject: str, body: dict[str, Any]) -> dict[str, Any]:
    """One request of NATS's text protocol, and its answer."""
    payload = json.dumps(body).encode()
    with create_connection(("127.0.0.1", port), timeout=10) as connection, connection.makefile("rb") as lines:
        lines.readline()  # INFO
        connection.sendall(b'CONNECT {"verbose":false}\r\nSUB _INBOX.test 1\r\n')
        connection.sendall(b"PUB %s _INBOX.test %d\r\n%s\r\n" % (subject.encode(), len(payload), payload))
        while not (line := lines.readline()).startswith(b"MSG "):
            assert line.startswith(b"PING"), f"NATS says {line!r}"
            connection.sendall(b"PONG\r\n")
        answer: dict[str, Any] = json.loads(lines.read(int(line.split()[-1])))
        return answer
