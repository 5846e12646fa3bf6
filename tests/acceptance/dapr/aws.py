"""What `deploy/aws` says, on an AWS in memory: its stacks are made there, its tasks run here on real sidecars."""

from __future__ import annotations

import base64
import json
import re
import sys
from ast import literal_eval
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from urllib.request import Request

import orjson

from tests.acceptance.dapr.stack import App, Pair
from tests.brokers import AWS_ACCOUNT, AWS_REGION, Broker, aws_client
from tests.cloudformation import read_template
from tests.processes import Process, free_ports, is_open
from tests.sidecar import COMPONENTS, DIRECT, ROOT, Sidecar

TEMPLATES = ROOT / "deploy" / "aws"
IMAGES = {"ManagerImage": "registry.example/websocket-manager:1", "SidecarImage": "registry.example/sidecar:1"}
HERE = {"app-port", "dapr-http-port", "dapr-grpc-port", "dapr-listen-addresses", "resources-path", "app-id"}
"""Options of a sidecar that are other ones on this machine."""
ANY = "*"


@dataclass(frozen=True, slots=True, order=True)
class Call:
    """One call of AWS: by whom, what, and on what."""

    key: str
    action: str
    resource: str


@contextmanager
def running_recorded_moto(folder: Path) -> Iterator[Broker]:
    """An AWS in memory that keeps every request from `record` on."""
    (port,) = free_ports(1)
    code = "from moto.server import main; main()"
    command = [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)]
    env = {"MOTO_RECORDER_FILEPATH": str(folder / "requests.ndjson")}
    process = Process("moto", command, folder, lambda: is_open(port), env=env, patience_s=120)
    told = {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "AWS_REGION": AWS_REGION,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    try:
        process.start()
        yield Broker(port, told, process)
    finally:
        process.kill()


@dataclass
class Deployed:
    """The stacks."""

    moto: Broker
    folder: Path

    @contextmanager
    def client(self, service: str) -> Iterator[Any]:
        with closing(aws_client(self.moto, service)) as client:
            yield client

    def make(self, stack: str, template: str, **parameters: str) -> None:
        """Make a stack, with the parameters that it has of all that are known here."""
        text = (TEMPLATES / template).read_text()
        with self.client("ec2") as network, self.client("cloudformation") as stacks:
            vpc = network.describe_vpcs()["Vpcs"][0]["VpcId"]
            subnets = ",".join(each["SubnetId"] for each in network.describe_subnets()["Subnets"])
            known = {**IMAGES, "Vpc": vpc, "Subnets": subnets, **parameters}
            asked = set(read_template(TEMPLATES / template)["Parameters"])
            given = [{"ParameterKey": key, "ParameterValue": known[key]} for key in sorted(asked & set(known))]
            stacks.create_stack(StackName=stack, TemplateBody=text, Parameters=given, Capabilities=["CAPABILITY_IAM"])
            (made,) = stacks.describe_stacks(StackName=stack)["Stacks"]
        assert made["StackStatus"] == "CREATE_COMPLETE", made
        self._subscribe(stack, read_template(TEMPLATES / template)["Resources"])

    def _subscribe(self, stack: str, resources: dict[str, Any]) -> None:
        """Make the subscriptions of a stack: moto passes over their type, without a word."""
        with self.client("cloudformation") as stacks, self.client("sns") as topics:
            exports = {each["Name"]: each["Value"] for each in stacks.list_exports()["Exports"]}
            listed = stacks.describe_stack_resources(StackName=stack)["StackResources"]
            ids = {
                each["LogicalResourceId"]: each["PhysicalResourceId"] for each in listed if "LogicalResourceId" in each
            }
            for resource in resources.values():
                if resource["Type"] != "AWS::SNS::Subscription":
                    continue
                wanted = resource["Properties"]
                match wanted["TopicArn"]:
                    case {"Ref": str(name)}:
                        topic = ids[name]
                    case {"ImportValue": str(name)}:
                        topic = exports[name]
                    case other:
                        raise AssertionError(other)
                name, attribute = wanted["Endpoint"]["GetAtt"].split(".")
                assert (wanted["Protocol"], attribute) == ("sqs", "Arn")
                queue = f"arn:aws:sqs:{AWS_REGION}:{AWS_ACCOUNT}:{ids[name].rpartition('/')[2]}"
                topics.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=queue)

    def task(self, family: str) -> dict[str, dict[str, Any]]:
        """The containers of a task, by name."""
        with self.client("ecs") as tasks:
            described = tasks.describe_task_definition(taskDefinition=family)["taskDefinition"]
        return {each["name"]: each for each in described["containerDefinitions"]}

    def pair(self, family: str, key: str, *args: str) -> Pair:
        """A task of ECS as processes of this machine: its options and variables, on free ports, with an access key."""
        (own := self.folder / family).mkdir()
        containers = self.task(family)
        options = dict(word.removeprefix("--").partition("=")[::2] for word in containers["daprd"]["command"])
        rest = tuple(f"--{name}={value}" if value else f"--{name}" for name, value in options.items())
        (app_port,) = free_ports(1)
        sidecar = Sidecar(
            options["app-id"],
            COMPONENTS / "aws",
            own,
            app_port=app_port,
            env=self.moto.env | {"AWS_ACCESS_KEY_ID": key} | _variables(containers["daprd"]),
            args=tuple(word for word in rest if word.removeprefix("--").partition("=")[0] not in HERE),
            names=self.folder,
        )
        option, mode = containers["manager"]["command"]
        assert option == "--mode"
        given = {name: value for name, value in _variables(containers["manager"]).items() if "PORT" not in name}
        app = App(mode, own, *args, app_port=app_port, grpc_port=sidecar.grpc_port, **given)
        return Pair(app, sidecar)

    def record(self) -> None:
        """Keep every request from now on."""
        address = f"{self.moto.env['AWS_ENDPOINT_URL']}/moto-api/recorder/start-recording"
        with DIRECT.open(Request(address, method="POST"), timeout=10) as answer:
            assert answer.status == 200

    def calls(self) -> set[Call]:
        """What was called since."""
        lines = (self.folder / "requests.ndjson").read_bytes().splitlines()
        return {_call(orjson.loads(line)) for line in lines if line.endswith(b"}")}

    def statements(self, role: str) -> list[dict[str, Any]]:
        """What the sidecar of a role may do."""
        with self.client("iam") as rights:
            (name,) = [each["RoleName"] for each in rights.list_roles()["Roles"] if role in each["RoleName"]]
            document = rights.get_role_policy(RoleName=name, PolicyName="sidecar")["PolicyDocument"]
        return list(literal_eval(document)["Statement"])  # moto gives back what CloudFormation made as Python shows it


def is_allowed(call: Call, statements: list[dict[str, Any]]) -> bool:
    """Whether one of the statements allows a call. None of ours denies, or has a condition."""
    assert all(set(each) == {"Effect", "Action", "Resource"} and each["Effect"] == "Allow" for each in statements)
    return any(
        call.action in _list(each["Action"])
        and any(fnmatchcase(call.resource, pattern) for pattern in _list(each["Resource"]))
        for each in statements
    )


def actions(statements: list[dict[str, Any]]) -> set[str]:
    """All that they allow."""
    return {action for each in statements for action in _list(each["Action"])}


@asynccontextmanager
async def deployed(folder: Path, *hosts: str) -> AsyncIterator[Deployed]:
    """The stacks of `deploy/aws`, with these hosts."""
    with running_recorded_moto(folder) as moto:
        made = Deployed(moto, folder)
        made.make("websocket-manager", "manager.yaml")
        for host in hosts:
            made.make(f"websocket-manager-{host}", "host.yaml", HostId=host)
        yield made


def _variables(container: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in container["environment"]}


def _list(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _call(request: dict[str, Any]) -> Call:
    headers = {name.lower(): value for name, value in request["headers"].items()}
    body = base64.b64decode(request["body"]) if request["body_encoded"] else request["body"].encode()
    found = re.search(r"Credential=([^/]+)/[^/]+/[^/]+/([^/]+)/", headers.get("authorization", ""))
    assert found is not None, request
    key, service = found.groups()
    if target := headers.get("x-amz-target"):
        fields = json.loads(body)
        return Call(key, f"{service}:{target.partition('.')[2]}", _resource(service, fields))
    fields = {name: values[0] for name, values in parse_qs(body.decode()).items()}
    return Call(key, f"{service}:{fields['Action']}", _resource(service, fields))


def _resource(service: str, fields: dict[str, Any]) -> str:
    """The ARN of what is asked for."""
    match service:
        case "sqs":
            name = fields.get("QueueName") or fields.get("QueueUrl", ANY).rpartition("/")[2]
            return f"arn:aws:sqs:{AWS_REGION}:{AWS_ACCOUNT}:{name}"
        case "dynamodb":
            return f"arn:aws:dynamodb:{AWS_REGION}:{AWS_ACCOUNT}:table/{fields['TableName']}"
        case "secretsmanager":
            return f"arn:aws:secretsmanager:{AWS_REGION}:{AWS_ACCOUNT}:secret:{fields['SecretId']}"
        case "sns":
            return str(fields.get("TopicArn", ANY))
        case _:
            return ANY
