"""The component set `aws`, end to end, on an AWS in memory."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.acceptance.dapr.stack import HANDLERS, HOST, eventually, make_pair
from tests.acceptance.feed import feeding, sent_at
from tests.brokers import Broker, aws_client, make_queue, make_table
from tests.sidecar import COMPONENTS

pytestmark = pytest.mark.acceptance

TABLE, QUEUE, TOPIC = "websocket-manager", "websocket-commands", "aws-frames"


async def test_a_connect_from_an_sqs_queue_leads_to_envelopes_on_an_sns_topic_and_a_record_in_dynamodb(
    moto: Broker, tmp_path: Path
):
    make_table(moto, TABLE)
    make_queue(moto, QUEUE)
    async with AsyncExitStack() as stack:
        queues, topics, tables = (
            stack.enter_context(closing(aws_client(moto, name))) for name in ("sqs", "sns", "dynamodb")
        )
        feed = await stack.enter_async_context(feeding(tmp_path))
        handlers = make_pair("handlers", HANDLERS, tmp_path, COMPONENTS / "aws", moto.env)
        host = make_pair("host", HOST, tmp_path, COMPONENTS / "aws", moto.env, "--instance-id", "host-1")
        for pair in (handlers, host):
            stack.callback(pair.kill)
            pair.spawn()
        await asyncio.gather(handlers.until_up(), host.until_up())

        command = {"command": "connect", "id": "aws-1", "url": feed.url("numbers/1/aws"), "topic": TOPIC}
        url = queues.get_queue_url(QueueName=QUEUE)["QueueUrl"]
        await asyncio.to_thread(queues.send_message, QueueUrl=url, MessageBody=json.dumps(command))
        await eventually(lambda: _topic(topics), "the first frame has made the topic")
        reader = _subscribed(queues, topics)
        envelopes: list[dict[str, Any]] = []
        await eventually(lambda: len(_take(queues, reader, envelopes)) >= 10, "envelopes arrive")
        assert {envelope["websocketId"] for envelope in envelopes} == {"aws-1"}
        numbers = {envelope["sequence"]: sent_at(envelope["payload"])[0] for envelope in envelopes}
        assert {number - sequence for sequence, number in numbers.items()} == {numbers[min(numbers)] - min(numbers)}
        (record,) = _records(tables, "aws-1")
        assert (record["url"], record["instanceId"]) == (command["url"], "host-1")


def _topic(topics: Any) -> list[str]:
    return [each["TopicArn"] for each in topics.list_topics()["Topics"] if each["TopicArn"].endswith(f":{TOPIC}")]


def _subscribed(queues: Any, topics: Any) -> str:
    """A queue of our own behind the topic; its URL."""
    url: str = queues.create_queue(QueueName="reader")["QueueUrl"]
    arn = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    (topic,) = _topic(topics)
    topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=arn)
    return url


def _take(queues: Any, url: str, envelopes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add what the queue holds now: the data of a CloudEvent in what SNS wraps around it."""
    messages = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
    envelopes += [orjson.loads(orjson.loads(message["Body"])["Message"])["data"] for message in messages]
    return envelopes


def _records(tables: Any, connection_id: str) -> list[dict[str, Any]]:
    """What the table holds of a connection."""
    values = [bytes(row["value"].get("B", b"")) for row in tables.scan(TableName=TABLE)["Items"]]
    records = [orjson.loads(value) for value in values if value.startswith(b'{"id"')]
    return [record for record in records if record["id"] == connection_id]
