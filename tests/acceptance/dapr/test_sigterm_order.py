"""SIGTERM in the order in which each platform sends it to a host and its sidecar.

Kubernetes: with native sidecars the app first, else both at once, with a sidecar that blocks its shutdown. ECS: the app
first where it depends on the sidecar, since the order of the start is reversed, else the sidecar may be first. Azure
Container Apps: no order is promised, and the sidecar cannot be told to block.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from tests.acceptance.dapr.stack import Pair, Stack, eventually, running_stack
from tests.acceptance.dapr.streams import Published
from tests.acceptance.feed import FeedProcess, feeding, slot_of
from tests.acceptance.ledger import Ledger

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]

CONNECTIONS, ROUND_S, TOPIC = 20, 0.2, "ordered-frames"
LEASE_S, DRAIN_S = 5, 6
GRACE_S = 30  # what all of these platforms give a container by default
ARGS = ("--heartbeat-interval-s", "1", "--lease-s", str(LEASE_S), "--drain-deadline-s", str(DRAIN_S))
BLOCK = ("--dapr-block-shutdown-duration", "20s")
DOWN_S = 1


def _app_first(host: Pair) -> None:
    host.app.stop()
    host.sidecar.stop()


def _sidecar_first(host: Pair) -> None:
    host.sidecar.stop()
    host.app.stop()


def _both(host: Pair) -> None:
    host.sidecar.send(signal.SIGTERM)
    host.app.send(signal.SIGTERM)
    host.app.wait_ended()
    host.sidecar.wait_ended()


@dataclass(frozen=True)
class Order:
    """How a platform ends a host. `is_whole`: all that had arrived is published before it ends."""

    end: Callable[[Pair], None]
    is_whole: bool
    sidecar_args: tuple[str, ...] = ()


ORDERS = {
    "app-first": Order(_app_first, is_whole=True),
    "both-and-the-sidecar-blocks": Order(_both, is_whole=True, sidecar_args=BLOCK),
    "sidecar-first": Order(_sidecar_first, is_whole=False),
    "both": Order(_both, is_whole=False),
}


@dataclass
class Ordered:
    """A stack with connections that get numbers, over all orders."""

    stack: Stack
    feed: FeedProcess
    published: Published
    command: list[str] = field(default_factory=list)

    def read(self) -> Ledger:
        return self.published.read()

    async def until_fresh(self) -> None:
        """Wait until each connection has published a number that is sent only from now on, and has told its gap."""
        begin = max(line["number"] for line in self.feed.told("number")) + 2

        def is_fresh() -> bool:
            ledger = self.read()
            runs = dict(sorted(ledger.runs))
            return ledger.numbers.keys() == self.published.ids and all(
                numbers.last >= begin and ledger.told_connected.get(id_, 0) >= runs[id_]
                for id_, numbers in ledger.numbers.items()
            )

        await eventually(is_fresh, "numbers of all connections have come")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ordered(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Ordered]:
    folder = tmp_path_factory.mktemp("ordered")
    async with feeding(folder, ROUND_S) as feed, running_stack(folder, *ARGS) as stack:
        ids = {f"ordered-{number}" for number in range(CONNECTIONS)}
        found = Ordered(stack, feed, Published(stack.stream(TOPIC), stack.stream(), ids))
        found.command = list(stack.host.sidecar.command)
        await stack.connect(*(_body(feed, id_) for id_ in ids))
        yield found


def _body(feed: FeedProcess, id_: str) -> dict[str, Any]:
    return {"id": id_, "url": feed.url(f"numbers/{slot_of(id_)}/{id_}"), "topic": TOPIC}


@pytest.mark.parametrize("name", ORDERS)
async def test_whatever_gets_sigterm_first_all_end_within_the_grace_and_what_is_missing_lies_in_a_gap(
    ordered: Ordered, name: str
):
    order, host = ORDERS[name], ordered.stack.host
    await ordered.stack.heal()
    host.sidecar.command[:] = [*ordered.command, *order.sidecar_args]
    if order.sidecar_args:
        await asyncio.to_thread(host.sidecar.restart)
        await host.until_up()
    await ordered.until_fresh()
    ordered.read().begin_anew()

    asked_at = time.time()
    await asyncio.to_thread(order.end, host)
    assert time.time() - asked_at < GRACE_S
    assert host.app.exit_code == 0
    ledger, sent = ordered.read(), ordered.feed.told("number")
    closed = [line for line in ordered.feed.told("closed") if line["at"] > asked_at]
    assert [line["closed"] for line in closed] == [1001] * CONNECTIONS
    if order.is_whole:
        assert not host.app.logged("drain_incomplete")
        ledger.check_all_published(sent, slot_of, asked_at)

    await asyncio.sleep(DOWN_S)
    host.sidecar.command[:] = ordered.command
    host.spawn()
    await host.until_up()
    await ordered.until_fresh()
    ledger = ordered.read()
    ledger.check_sequences()
    missing = ledger.check_holes(ordered.feed.told("number"), slot_of)
    assert missing >= CONNECTIONS * DOWN_S, "this test has seen nothing lost"
    assert ledger.blind_times().keys() == ordered.published.ids
    assert not ledger.gaps("dropped")
    await ordered.stack.until_status("Connected", *ordered.published.ids)
    views = await ordered.stack.outsider.invoke("connections")
    assert {(view["status"], view["instanceId"]) for view in views} == {("Connected", "host-1")}
