"""How long connections are away when their host dies: SIGKILL of app and sidecar, again and again, with defaults.

A host that has died is replaced by one under another id, as an autoscaler would do.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from runtime.ports import Limits
from tests.acceptance.dapr.stack import EVENTS, Stack, make_host, running_stack
from tests.acceptance.feed import feeding
from tests.bench.arrivals import Arrivals
from tests.bench.defaults import DEFAULTS
from tests.bench.table import Group, Result, against, alone
from tests.sidecar import COMPONENTS

RUNS, HOSTS, CONNECTIONS = 20, 3, 300
PATIENCE_S = 120
FORMULA = "the formula"
NOTE = """\
{hosts} hosts, {connections} connections. The formula is the README's, lease_s + 2 * heartbeat_interval_s + records / \
sweep_rate, without one dial.
It is the most that it should take. All runs, in seconds: {runs}"""


async def measure(folder: Path, runs: int = RUNS, connections: int = CONNECTIONS, limits: Limits = DEFAULTS) -> Group:
    """The rows."""
    ids = [f"host-{number}" for number in range(HOSTS)]
    async with feeding(folder) as feed, running_stack(folder, *_args(limits), hosts=ids) as stack:
        losses = Losses(stack, limits)
        try:
            await stack.connect(*({"id": f"c{n}", "url": feed.url("quiet/0")} for n in range(connections)))
            for _ in range(runs):
                await losses.lose_one()
        finally:
            for pair in stack.hosts.values():  # the stack ends those only that it has started
                pair.kill()
    taken = sorted(losses.taken_s)
    about = {"runs": runs, "hosts": HOSTS, "connections": connections, "takenS": [round(each, 2) for each in taken]}
    return Group(
        f"From SIGKILL of a host until all its connections are Connected elsewhere; {runs} runs",
        rows_of(taken, connections, limits),
        about,
        NOTE.format(hosts=HOSTS, connections=connections, runs=" ".join(f"{each:.1f}" for each in taken)),
    )


def rows_of(taken_s: Sequence[float], records: int, limits: Limits) -> list[Result]:
    """The ends and the middle of the distribution, against the formula."""
    formula_s = limits.lease_s + 2 * limits.heartbeat_interval_s + records / limits.sweep_rate
    shown = {"fastest": [min(taken_s)], "median": taken_s, "slowest": [max(taken_s)]}
    rows = [against(name, "s", values, FORMULA, [formula_s] * len(values)) for name, values in shown.items()]
    return [alone(FORMULA, "s", [formula_s]), *rows]


@dataclass
class Losses:
    """What was lost so far, and for how many seconds."""

    stack: Stack
    limits: Limits
    taken_s: list[float] = field(default_factory=list)
    _names: count[int] = field(default_factory=lambda: count(HOSTS))

    async def lose_one(self) -> None:
        """Kill the host that holds most, at any moment of its heartbeat; replace it when others have all it held."""
        await asyncio.sleep(random.uniform(0, self.limits.heartbeat_interval_s))
        owners = {view["id"]: view["instanceId"] for view in await self.stack.outsider.invoke("connections")}
        ((lost, _),) = Counter(owners.values()).most_common(1)
        told = Arrivals(self.stack.redis.port, EVENTS)
        killed_at = time.time()
        self.stack.hosts.pop(lost).kill()
        async with asyncio.timeout(PATIENCE_S):
            back_at = await _back_at(told, {id_ for id_, owner in owners.items() if owner == lost}, lost)
        self.taken_s.append(back_at - killed_at)
        await self._add_one()

    async def _add_one(self) -> None:
        stack, id_ = self.stack, f"host-{next(self._names)}"
        env = {**stack.redis.env, **stack.mosquitto.env, "SECRETS_FILE": str(stack.folder / "secrets.json")}
        pair = make_host(id_, stack.folder, COMPONENTS / "local", env, *_args(self.limits))
        stack.hosts[id_] = pair
        pair.spawn()
        await pair.until_up()


def _args(limits: Limits) -> list[str]:
    return ["--lease-s", str(limits.lease_s), "--heartbeat-interval-s", str(limits.heartbeat_interval_s)]


async def _back_at(told: Arrivals, ids: set[str], lost: str) -> float:
    """When the last of some connections was told to be Connected at another host than the one that is lost."""
    at = 0.0
    while ids:
        (arrival,) = await told.take(1)
        data, at = arrival.event["data"], arrival.at
        if data.get("status") == "Connected" and data["instanceId"] != lost:
            ids.discard(data["connectionId"])
    return at
