"""`deploy/aws` as it is: three hosts on an AWS in memory, one of them killed, with the rights that it gives them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from runtime.ports import Names
from tests.acceptance.dapr.aws import Deployed, actions, deployed, is_allowed
from tests.acceptance.dapr.stack import HANDLERS, Pair, eventually
from tests.acceptance.feed import SLOTS, FeedProcess, feeding, slot_of
from tests.acceptance.ledger import Ledger
from tests.brokers import aws_client

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="module")]

HOSTS = ("host-1", "host-2", "host-3")
CONNECTIONS, ROUND_S = 24, 1.0
BEAT_S, LEASE_S, BUSY_S = 1, 6, 30
SETTINGS = {"--heartbeat-interval-s": BEAT_S, "--lease-s": LEASE_S, "--sweep-interval-s": 5, "--tombstone-ttl-s": 2}
ARGS = [str(word) for pair in SETTINGS.items() for word in pair]
TOPIC, SECRET = "frames-numbers", "websocket-manager-feed"
NAMES = Names()


@dataclass
class Region:
    """All that runs, and what came out of it."""

    made: Deployed
    feed: FeedProcess
    handlers: Pair
    hosts: dict[str, Pair]
    session: aiohttp.ClientSession
    ids: set[str] = field(default_factory=set)
    events: dict[str, dict[str, Any]] = field(default_factory=dict)

    async def command(self, *commands: dict[str, Any]) -> None:
        """Commands to the queue."""
        with self.made.client("sqs") as queues:
            url = queues.get_queue_url(QueueName=NAMES.commands_binding)["QueueUrl"]
            for command in commands:
                await asyncio.to_thread(queues.send_message, QueueUrl=url, MessageBody=json.dumps(command))

    async def views(self) -> dict[str, dict[str, Any]]:
        """The records, by id."""
        url = f"{self.handlers.sidecar.url}/invoke/{HANDLERS}/method/connections"
        async with self.session.post(url, json={}) as answer:
            assert answer.status == 200, await answer.read()
            return {view["id"]: view for view in orjson.loads(await answer.read())}

    async def until_held_by(self, *hosts: str) -> dict[str, dict[str, Any]]:
        """Wait until each connection is Connected at one of these hosts."""
        deadline = time.monotonic() + LEASE_S + BUSY_S
        while True:
            views = await self.views()
            strays = [id_ for id_ in self.ids if not _is_held(views.get(id_), hosts)]
            if not strays:
                return views
            assert time.monotonic() < deadline, f"not held by {hosts}: {[views.get(id_) for id_ in strays][:5]}"
            await asyncio.sleep(0.3)

    async def until_fresh(self, epochs: dict[str, int]) -> None:
        """Wait until each connection has published a number that is sent from now on, under these epochs or later.

        And until it was told to be Connected under its newest one, before which comes its gap.
        """
        begin = max(line["number"] for line in self.feed.told("number")) + 1

        def are_fresh() -> bool:
            frames = [event["data"] for event in self.events.values() if event["type"].endswith(".frame")]
            fresh = {each["websocketId"] for each in frames if _number(each) >= begin and _is_new(each, epochs)}
            if not fresh >= self.ids:
                return False
            ledger = self.ledger()
            told, newest = ledger.told_connected, ledger.newest
            return all(told.get(id_, 0) >= newest[id_] for id_ in self.ids)

        await eventually(are_fresh, "numbers of all connections have come", every=0.5)

    def ledger(self) -> Ledger:
        """The account of all that came. A standard queue keeps no order: it is put in order by epoch and sequence."""
        ledger = Ledger(overlaps=True)
        frames = [event for event in self.events.values() if event["type"].endswith(".frame")]
        others = [event for event in self.events.values() if not event["type"].endswith(".frame")]
        for event in others + sorted(frames, key=lambda each: (each["data"]["epoch"], each["data"]["sequence"])):
            ledger.take_event(event)
        return ledger


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def region(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Region]:
    folder = tmp_path_factory.mktemp("aws")
    async with AsyncExitStack() as stack:
        made = await stack.enter_async_context(deployed(folder, *HOSTS))
        feed = await stack.enter_async_context(feeding(folder, ROUND_S))
        with made.client("secretsmanager") as secrets:
            secrets.create_secret(Name=SECRET, SecretString="s3cret")
        reading = await stack.enter_async_context(_reading(made, TOPIC, NAMES.events_topic))
        made.record()
        handlers = made.pair("websocket-handlers", "handlers", *ARGS)
        hosts = {id_: made.pair(f"websocket-host-{id_}", "host", *ARGS) for id_ in HOSTS}
        for pair in (handlers, *hosts.values()):
            stack.callback(pair.kill)
            pair.spawn()
        await asyncio.gather(*(pair.until_up() for pair in (handlers, *hosts.values())))
        session = await stack.enter_async_context(aiohttp.ClientSession(trust_env=False))
        yield Region(made, feed, handlers, hosts, session, events=reading)


async def test_each_topic_that_a_sidecar_reads_leads_to_its_own_queue_and_the_stacks_make_no_other(region: Region):
    wanted = {
        (subscription["topic"], queue)
        for pair, queue in [(region.handlers, HANDLERS)]
        + [(p, f"websocket-host-{id_}") for id_, p in region.hosts.items()]
        for subscription in pair.sidecar.metadata()["subscriptions"]
    }
    with region.made.client("sns") as topics, region.made.client("sqs") as queues:
        listed = topics.list_subscriptions()["Subscriptions"]
        made = {(each["TopicArn"].rpartition(":")[2], each["Endpoint"].rpartition(":")[2]) for each in listed}
        all_topics = {each["TopicArn"].rpartition(":")[2] for each in topics.list_topics()["Topics"]}
        all_queues = {url.rpartition("/")[2] for url in queues.list_queues()["QueueUrls"]}
    assert {each for each in made if each[1] != "reader"} == wanted
    owner_topics = {NAMES.owner_topic(id_) for id_ in HOSTS}
    shared = {NAMES.commands_topic, NAMES.events_topic, NAMES.host_topic, NAMES.dead_letters_topic}
    assert all_topics == shared | owner_topics | {TOPIC}
    own = {HANDLERS, NAMES.commands_binding, f"{NAMES.commands_binding}-dead", *owner_topics}
    assert all_queues == own | {"reader"}


async def test_of_three_hosts_one_is_killed_and_every_missing_number_lies_in_an_announced_gap(region: Region):
    bodies = [_body(region.feed, number) for number in range(CONNECTIONS)]
    region.ids |= {body["id"] for body in bodies}
    await region.command(*({"command": "connect", **body} for body in bodies))
    views = await region.until_held_by(*HOSTS)
    await region.until_fresh({})
    views = await region.until_held_by(*HOSTS)
    theirs = {id_ for id_, view in views.items() if view["instanceId"] == "host-1"}
    assert theirs, "host-1 holds nothing"
    killed_at = time.time()
    region.hosts["host-1"].kill()
    after = await region.until_held_by("host-2", "host-3")
    epochs = {id_: after[id_]["epoch"] for id_ in theirs}
    assert all(epochs[id_] > views[id_]["epoch"] for id_ in theirs)
    await region.until_fresh(epochs)
    ledger = region.ledger()
    ledger.check_sequences()
    missing = ledger.check_holes(region.feed.told("number"), slot_of)
    assert missing >= len(theirs), "this test has seen nothing lost"
    gaps = ledger.blind_times()
    assert gaps.keys() >= theirs
    assert all(max(end for _, end in gaps[id_]) > killed_at for id_ in theirs)


async def test_what_is_sent_reaches_the_host_that_holds_the_connection_and_no_queue_of_another(region: Region):
    id_ = min(region.ids)
    sent_at = time.monotonic()
    await region.command({"command": "send", "commandId": "send-1", "id": id_, "message": "hello"})

    def outcomes() -> list[str]:
        told = [event["data"] for event in region.events.values() if event["type"].endswith(".outcome")]
        return [each["status"] for each in told if each["commandId"] == "send-1"]

    await eventually(lambda: "done" in outcomes(), "it is sent")
    assert time.monotonic() - sent_at < BUSY_S, "long before a message is seen again (120 s)"


async def test_the_policies_allow_every_call_of_the_sidecars_and_no_action_that_none_of_them_made(region: Region):
    id_ = max(region.ids)
    region.ids.discard(id_)
    await region.command({"command": "disconnect", "id": id_})  # its record is purged: a delete
    roles = {"handlers": region.made.statements("HandlersRole"), "host": region.made.statements("HostRole")}

    def made() -> dict[str, set[str]]:
        return {key: {call.action for call in region.made.calls() if call.key == key} for key in roles}

    with suppress(AssertionError):  # what is missing then is told below
        await eventually(lambda: all(made()[key] >= actions(roles[key]) for key in roles), "all", every=1)
    for key, statements in roles.items():
        refused = sorted(call for call in region.made.calls() if call.key == key and not is_allowed(call, statements))
        assert not refused, f"{key} is refused {refused}"
        assert made()[key] == actions(statements)


@asynccontextmanager
async def _reading(made: Deployed, *topics: str) -> AsyncIterator[dict[str, dict[str, Any]]]:
    """What comes to a queue of ours behind some topics, by the events' ids."""
    with closing(aws_client(made.moto, "sqs")) as queues, closing(aws_client(made.moto, "sns")) as topics_client:
        url = queues.create_queue(QueueName="reader")["QueueUrl"]
        arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        for topic in topics:
            topic_arn = topics_client.create_topic(Name=topic)["TopicArn"]  # harmless when it is there
            topics_client.subscribe(TopicArn=topic_arn, Protocol="sqs", Endpoint=arn)
        events: dict[str, dict[str, Any]] = {}

        async def read() -> None:
            while True:
                for event in await asyncio.to_thread(_take, queues, url):
                    events.setdefault(event["id"], event)
                await asyncio.sleep(0.05)

        task = asyncio.create_task(read())
        try:
            yield events
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _take(queues: Any, url: str) -> list[dict[str, Any]]:
    """The events in a queue, which then holds them no more."""
    found = []
    while messages := queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=0).get("Messages"):
        entries = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(messages)]
        queues.delete_message_batch(QueueUrl=url, Entries=entries)
        found += [orjson.loads(orjson.loads(message["Body"])["Message"]) for message in messages]
    return found


def _body(feed: FeedProcess, number: int) -> dict[str, Any]:
    """A connection that gets numbers, and shows a secret to its peer."""
    id_ = f"aws-{number}"
    options = {"headers": {"X-Token": {"secret": f"secretstore/{SECRET}"}}}
    url = feed.url(f"numbers/{number % SLOTS}/{id_}")
    return {"id": id_, "url": url, "topic": TOPIC, "autoReconnect": True, "options": options}


def _is_held(view: dict[str, Any] | None, hosts: Iterable[str]) -> bool:
    return view is not None and view["status"] == "Connected" and view["instanceId"] in hosts


def _is_new(envelope: dict[str, Any], epochs: dict[str, int]) -> bool:
    return int(envelope["epoch"]) >= epochs.get(envelope["websocketId"], 0)


def _number(envelope: dict[str, Any]) -> int:
    return int(envelope["payload"].split()[0])
