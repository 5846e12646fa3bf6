"""A pass over many records, by a host on a real sidecar with Redis: its time, its memory, the loop's lag meanwhile.

All records say Connected at another host, so that there is nothing to do about any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from socket import create_connection

import orjson

from runtime.models.connection import DaprStateStoreEntry, WebSocketConnection
from runtime.models.constants import connection_key
from runtime.models.status import ConnectionStatus
from tests.acceptance.dapr.stack import HOST
from tests.bench.defaults import DEFAULTS
from tests.bench.one_host import APART, KEY
from tests.bench.references import output_of
from tests.bench.table import Group, Result, against, alone
from tests.brokers import Broker, running_redis
from tests.processes import free_ports
from tests.sidecar import COMPONENTS, Sidecar, running_sidecar

RECORDS, PASSES, UNBOUNDED = 100_000, 2, 1_000_000_000
PACED_S, PATIENCE_S = 15.0, 45.0
CHUNK = 1000  # records that are written at once
FORMULA, FAST, PACED, IDLE = "records ÷ sweep_rate", "unbounded", "at sweep_rate", "idle"

NOTE = """\
Records of {size} bytes, all of them Connected at another host. Unbounded: {passes} passes, one after the other.
At sweep_rate, by default {rate:,} a second: the first {paced_s:g} s of a pass.
Lag: how much later the loop comes back than after the 5 ms that were asked for.
Memory: its peak, above what there was before the first pass."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What `one_host` prints of one; see there."""

    seen: float
    took_s: float
    grown_mib: float
    lag_p99_ms: float
    lag_worst_ms: float


async def measure(folder: Path, records: int = RECORDS, paced_s: float = PACED_S) -> Group:
    """The rows."""
    with running_redis(folder) as redis:
        size = seed(redis.port, records)
        idle, *fast = await _passes(folder, redis, UNBOUNDED, PASSES, PATIENCE_S)
        _, paced = await _passes(folder, redis, DEFAULTS.sweep_rate, 1, paced_s)
    assert all(each.seen == records for each in fast), f"not all of {records} records were looked at: {fast}"
    about = {"records": records, "recordBytes": size, "passes": PASSES, "pacedS": paced_s}
    note = NOTE.format(size=size, passes=PASSES, rate=DEFAULTS.sweep_rate, paced_s=paced_s)
    return Group(f"A pass over {records:,} records in Redis", rows_of(records, idle, fast, paced), about, note)


def rows_of(records: int, idle: Pass, fast: Sequence[Pass], paced: Pass) -> list[Result]:
    """Time and memory of passes, and the loop's lag in them as a multiple of that without one."""
    formula_s = records / DEFAULTS.sweep_rate
    first, *others = (f"{FAST}, memory in pass {number}" for number in range(1, len(fast) + 1))
    rows = [
        alone(FORMULA, "s", [formula_s]),
        against(f"{FAST}, time", "s", [each.took_s for each in fast], FORMULA, [formula_s] * len(fast)),
        alone(first, "MiB", [fast[0].grown_mib]),
    ]
    for name, each in zip(others, fast[1:], strict=True):
        rows.append(against(name, "MiB", [each.grown_mib], first, [fast[0].grown_mib]))
    lags = {"lag p99": lambda each: each.lag_p99_ms, "worst lag": lambda each: each.lag_worst_ms}
    for name, lag in lags.items():
        rows.append(alone(f"{IDLE}, {name}", "ms", [lag(idle)]))
        for what, passes in {PACED: [paced], FAST: fast}.items():
            others_ms = [lag(idle)] * len(passes)
            rows.append(against(f"{what}, {name}", "ms", [lag(each) for each in passes], f"{IDLE}, {name}", others_ms))
    return rows


def seed(port: int, count: int) -> int:
    """Write records as the sidecar does, and their index where no host finds it yet. Returns the size of a record."""
    ids = [f"venue-{number:06}" for number in range(count)]
    with create_connection(("127.0.0.1", port)) as connection, connection.makefile("rb") as answers:
        for start in range(0, count, CHUNK):
            chunk = ids[start : start + CHUNK]
            connection.sendall(b"".join(_written(KEY + connection_key(id_), _record(id_)) for id_ in chunk))
            assert all(answers.readline()[:1] == b":" for _ in chunk), "Redis did not take the records"
        connection.sendall(_written(APART, orjson.dumps(ids)))
        assert answers.readline()[:1] == b":", "Redis did not take the index"
    return len(_record(ids[0]))


async def _passes(folder: Path, redis: Broker, rate: int, passes: int, most_s: float) -> list[Pass]:
    """The time before, and so many passes, of a host that is made for them."""
    secrets = folder / "secrets.json"
    secrets.write_text("{}")
    (app_port,) = free_ports(1)
    env, health = {**redis.env, "SECRETS_FILE": str(secrets)}, ("--enable-app-health-check",)
    sidecar = Sidecar(HOST, COMPONENTS / "local", folder, app_port=app_port, env=env, args=health)
    async with running_sidecar(sidecar):
        ports = str(app_port), str(sidecar.grpc_port), str(redis.port)
        numbers = iter(await output_of("one_host", *ports, str(rate), str(passes), str(most_s)))
    return [Pass(*five) for five in zip(*[numbers] * 5, strict=True)]


def _record(id_: str) -> bytes:
    return _RECORD.replace(b"ID", id_.encode())


def _made() -> bytes:
    """A record as a host has left it, with `ID` for its id."""
    now = datetime.now(UTC)
    record = WebSocketConnection.create("ID", now).changed(
        url="wss://feed.example/v2/stream?symbol=ID",
        topic="prices",
        auto_reconnect=True,
        generation=1,
        status=ConnectionStatus.CONNECTED,
        instance_id="elsewhere",
        tags={"venue": "example", "kind": "trades"},
        updated_at=now,
    )
    return DaprStateStoreEntry.from_connection(record).to_json()


def _written(key: str, value: bytes) -> bytes:
    """The command that writes a key of the state store."""
    words = b"HSET", key.encode(), b"data", value, b"version", b"1", b"first-write", b"0"
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


_RECORD = _made()
