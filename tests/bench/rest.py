"""What hosts ask of the state store while nothing happens: no command, no frame, all connections Connected.

Every key that Redis is asked for counts, also where one call asks for many, since some stores bill each of them.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from runtime.models.constants import DaprConstants
from tests.acceptance.dapr.stack import running_stack
from tests.acceptance.feed import FeedProcess, feeding
from tests.bench.asked import Asked, asked_within, windows_of
from tests.bench.defaults import DEFAULTS
from tests.bench.table import Group, Result, against, alone

SIZES = ((1, 50), (1, 200), (3, 200))  # hosts, connections of all of them
WINDOWS, WINDOW_S = 2, 20  # a multiple of all intervals, save that of passes
QUICK_SWEEP_S = 5
TRIES, TRY_S = 12, 5  # until all connections are dealt out
PASSES_AN_HOUR = 3600 / DEFAULTS.sweep_interval_s
KINDS = BY_HOST, BY_WATCHED, BY_CONNECTION = "each host", "each lease that a host reads", "each connection"

NOTE = f"""\
Keys that Redis is asked for, one by one, in {WINDOWS} windows of {WINDOW_S} s; handlers are stopped (720 keys/h each).
Passes come every {QUICK_SWEEP_S} s here, and count as the {PASSES_AN_HOUR:g} an hour that there are by default.
A host reads the leases of all hosts: it costs the first figure, and the second for each host that there is.
What `wsm list` shows it writes when that has changed: up to 720 keys/h.
A connection is read by its owner, and by the two hosts whose task it would be: from 12 keys/h with one host, where all
three are the same, to at most 24."""

Size = tuple[int, int]
Costs = dict[str, list[float]]


async def measure(
    folder: Path, sizes: Sequence[Size] = SIZES, windows: int = WINDOWS, window_s: float = WINDOW_S
) -> Group:
    """The rows. All sizes are measured at once, since what rests takes no time from the others."""
    found: dict[Size, Costs] = {size: defaultdict(list) for size in sizes}
    async with feeding(folder) as feed, AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(_at_rest(folder, feed, *size)) for size in sizes]
        interval_s = DEFAULTS.heartbeat_interval_s
        for size, asked in zip(sizes, await _asked(ports, windows * window_s + 2 * interval_s), strict=True):
            for window in windows_of(asked, windows, window_s, interval_s):
                for kind, cost in costs_of(window, *size, window_s).items():
                    found[size][kind].append(cost)
    about = {
        "windows": windows,
        "windowS": window_s,
        "sweepIntervalS": QUICK_SWEEP_S,
        "countedAsS": DEFAULTS.sweep_interval_s,
        "heartbeatIntervalS": DEFAULTS.heartbeat_interval_s,
    }
    return Group("Keys of the state store asked for in an hour, at rest", _rows(found), about, NOTE)


def costs_of(asked: Sequence[Asked], hosts: int, connections: int, window_s: float) -> dict[str, float]:
    """What a window costs in an hour, of each of the three kinds."""
    prefix = DaprConstants.INSTANCE_PREFIX
    lease_reads = sum(each.key.startswith(prefix) and not each.is_write for each in asked)
    lease_writes = sum(each.key.startswith(prefix) and each.is_write for each in asked)
    watched = lease_reads - lease_writes  # a host reads its own lease before it writes it
    passes = sum(each.key == DaprConstants.INDEX_KEY for each in asked)
    of_connections = sum(is_of_connection(each.key) for each in asked)
    rest = len(asked) - watched - passes - of_connections
    an_hour = 3600 / window_s / hosts
    return {
        BY_HOST: rest * an_hour + PASSES_AN_HOUR,
        BY_WATCHED: watched * an_hour / hosts,
        BY_CONNECTION: of_connections / (passes / hosts) * PASSES_AN_HOUR / connections,
    }


def is_of_connection(key: str) -> bool:
    """Whether it is a record or an outbox."""
    is_record = key.startswith(DaprConstants.KEY_PREFIX) and key != DaprConstants.INDEX_KEY
    return is_record or key.startswith(DaprConstants.OUTBOX_PREFIX)


@asynccontextmanager
async def _at_rest(folder: Path, feed: FeedProcess, hosts: int, connections: int) -> AsyncIterator[int]:
    """The port of a Redis with so many hosts, whose connections are all Connected; handlers are gone by then."""
    (own := folder / f"{hosts}-{connections}").mkdir()
    ids = [f"host-{number}" for number in range(hosts)]
    async with running_stack(own, "--sweep-interval-s", str(QUICK_SWEEP_S), hosts=ids) as stack:
        await stack.connect(*({"id": f"c{number}", "url": feed.url("quiet/0")} for number in range(connections)))
        stack.handlers.kill()
        yield stack.redis.port


async def _asked(ports: Sequence[int], seconds: float) -> list[list[Asked]]:
    """All that is asked for in a time in which no record is written: else connections are still being dealt out."""
    for _ in range(TRIES):
        if _is_quiet(await _look(ports, TRY_S)) and _is_quiet(found := await _look(ports, seconds)):
            return found
    raise AssertionError(f"records are written though nothing happens, in {TRIES} looks of {TRY_S} s or more")


async def _look(ports: Sequence[int], seconds: float) -> list[list[Asked]]:
    return await asyncio.gather(*(asyncio.to_thread(asked_within, port, seconds) for port in ports))


def _is_quiet(found: Sequence[Sequence[Asked]]) -> bool:
    return not any(each.is_write and is_of_connection(each.key) for asked in found for each in asked)


def _rows(found: Mapping[Size, Costs]) -> list[Result]:
    rows = []
    for kind in KINDS:
        first, *others = ((_name(size, kind), costs[kind]) for size, costs in found.items())
        rows.append(alone(first[0], "keys/h", first[1]))
        rows += [against(name, "keys/h", values, *first) for name, values in others]
    return rows


def _name(size: Size, kind: str) -> str:
    hosts, connections = size
    return f"{hosts} host{'s' if hosts > 1 else ''} with {connections}, {kind}"
