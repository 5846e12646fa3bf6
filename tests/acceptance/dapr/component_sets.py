"""A component set with all that is behind it: three hosts on it, and a third app that reads what they publish."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from runtime.cli.own_resources import copy_in_order
from runtime.placement import SLACK
from runtime.ports import Names
from tests.acceptance.dapr.stack import (
    HANDLERS,
    PATIENCE_S,
    REST_BEATS,
    Outsider,
    Pair,
    eventually,
    make_host,
    make_pair,
    running_outsider,
)
from tests.acceptance.feed import SLOTS, FeedProcess, feeding
from tests.acceptance.ledger import Ledger
from tests.brokers import running_postgres, running_redis
from tests.message_brokers import make_streams, running_kafka, running_nats, running_rabbitmq
from tests.sidecar import COMPONENTS

HOSTS = ("host-1", "host-2", "host-3")
CONNECTIONS, ROUND_S = 24, 0.5
TOPIC = "numbers"
BEAT_S, LEASE_S = 1, 6
REST_S = REST_BEATS * BEAT_S
SETTINGS = {"--heartbeat-interval-s": BEAT_S, "--lease-s": LEASE_S, "--sweep-interval-s": 5}
ARGS = [str(word) for pair in SETTINGS.items() for word in pair]
NAMES = Names()


@contextmanager
def running_behind(name: str, folder: Path) -> Iterator[dict[str, str]]:
    """The broker of a set, and PostgreSQL; what its components read to find them."""
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        match name:
            case "kafka":
                broker = stack.enter_context(running_kafka(folder))
            case "rabbitmq":
                broker = stack.enter_context(running_rabbitmq(folder))
            case "jetstream":
                broker = stack.enter_context(running_nats(folder))
                owned = [NAMES.owner_topic(host) for host in HOSTS]
                ours = [NAMES.commands_topic, NAMES.events_topic, NAMES.host_topic, NAMES.dead_letters_topic]
                make_streams(broker, [*ours, *owned, TOPIC])
            case _:
                broker = stack.enter_context(running_redis(folder))
        (folder / "secrets.json").write_text("{}")
        yield {**postgres.env, **broker.env, "SECRETS_FILE": str(folder / "secrets.json")}


@dataclass
class Deployment:
    """The hosts, and one account of all that was published and told for their connections."""

    feed: FeedProcess
    hosts: Mapping[str, Pair]
    outsider: Outsider
    ledger: Ledger = field(default_factory=lambda: Ledger(overlaps=True))
    repeats: int = 0
    _taken: int = 0
    _known: set[str] = field(default_factory=set)

    async def connect(self) -> None:
        for number in range(CONNECTIONS):
            id_ = id_of(number)
            body = {"id": id_, "url": self.feed.url(f"numbers/{number % SLOTS}/{id_}"), "topic": TOPIC}
            outcome = await self.outsider.invoke("connect", autoReconnect=True, **body)
            assert outcome["status"] == "accepted", outcome

    def read(self) -> Ledger:
        """Take in what has arrived since, a repeat once."""
        fresh, self._taken = self.outsider.got[self._taken :], len(self.outsider.got)
        for event in (delivery.event for delivery in fresh):
            if event.id in self._known:
                self.repeats += 1
            else:
                self._known.add(event.id)
                self.ledger.take_event({"type": event.type, "data": orjson.loads(event.data)})
        return self.ledger

    async def owners(self) -> dict[str, str | None]:
        """The owner of each connection that is Connected, by id; None of any other."""
        views: list[dict[str, Any]] = await self.outsider.invoke("connections")
        return {view["id"]: view["instanceId"] if view["status"] == "Connected" else None for view in views}

    async def until_held_by(self, *hosts: str) -> dict[str, str | None]:
        """Wait until each connection is Connected at one of these, none has too many, and nothing moves; the owners."""
        most = (1 + SLACK) * CONNECTIONS / len(hosts) + 1
        before: dict[str, str | None] = {}

        async def is_at_rest() -> bool:
            nonlocal before
            now = await self.owners()
            is_same, before = now == before, now
            counts = Counter(now.values())
            return is_same and len(now) == CONNECTIONS and set(counts) <= set(hosts) and max(counts.values()) <= most

        try:
            async with asyncio.timeout(PATIENCE_S):
                while not await is_at_rest():
                    await asyncio.sleep(REST_S)
        except TimeoutError:
            raise AssertionError(f"not held by {hosts}: {Counter(before.values())}") from None
        return before

    async def until_fresh(self) -> None:
        """Wait until of each connection a number has come that is sent from now on, and that it is Connected so."""
        begin = max(line["number"] for line in self.feed.told("number")) + 2

        def are_fresh() -> bool:
            ledger = self.read()
            numbers, told, newest = ledger.numbers, ledger.told_connected, ledger.newest
            ids = [id_of(number) for number in range(CONNECTIONS)]
            have_come = all(id_ in numbers and numbers[id_].last >= begin for id_ in ids)
            return have_come and all(told.get(id_, 0) >= newest[id_] for id_ in ids)

        await eventually(are_fresh, "numbers of all connections have come")


def id_of(number: int) -> str:
    return f"numbers-{number}"


@asynccontextmanager
async def deployed(name: str, folder: Path) -> AsyncIterator[Deployment]:
    """The set with everything behind it for a block; nothing is left of it."""
    async with AsyncExitStack() as stack:
        env = stack.enter_context(running_behind(name, folder))
        feed = await stack.enter_async_context(feeding(folder, ROUND_S))
        resources = COMPONENTS / name
        handlers = make_pair("handlers", HANDLERS, folder, resources, env, *ARGS)
        hosts = {id_: make_host(id_, folder, resources, env, *ARGS) for id_ in HOSTS}
        for pair in (handlers, *hosts.values()):
            stack.callback(pair.kill)
            pair.spawn()
        in_order = copy_in_order(resources, folder / "in-order")
        outsider = await stack.enter_async_context(running_outsider(folder, in_order, env, TOPIC))
        await asyncio.gather(*(pair.until_up() for pair in (handlers, *hosts.values())))
        yield Deployment(feed, hosts, outsider)
