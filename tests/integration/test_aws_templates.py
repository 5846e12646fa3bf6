"""The templates of `deploy/aws`: valid for CloudFormation, and in accord with components, settings and limits."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.models.limits import Limits
from runtime.ports import Names
from runtime.settings import Settings
from tests.cloudformation import read_template
from tests.dockerfile import Dockerfile
from tests.sidecar import COMPONENTS, ROOT

pytestmark = pytest.mark.integration

FOLDER = ROOT / "deploy" / "aws"
MANAGER, HOST = (read_template(FOLDER / name) for name in ("manager.yaml", "host.yaml"))
TASKS = [MANAGER["Resources"]["HandlersTask"], HOST["Resources"]["Task"]]
RESULT = Dockerfile.read(ROOT / "deploy" / "Dockerfile").stages[-1]


def test_the_commands_that_the_readme_gives_for_here_run():
    marker = (
        "<!-- run by: tests/integration/test_aws_templates.py::test_the_commands_that_the_readme_gives_for_here_run -->"
    )
    blocks = re.findall(re.escape(marker) + r"\n```sh\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    assert blocks
    for line in "".join(blocks).splitlines():
        program, *args = shlex.split(line)
        command = [str(Path(sys.executable).parent / Path(program).name), *args]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def test_table_and_queues_have_the_names_and_times_that_the_components_ask_for():
    resources = MANAGER["Resources"]
    store, binding, pubsub = (_metadata(name) for name in ("statestore", "websocket-commands", "pubsub"))
    assert resources["Table"]["Properties"]["TableName"] == store["table"]
    assert resources["Table"]["Properties"]["KeySchema"] == [{"AttributeName": "key", "KeyType": "HASH"}]
    assert resources["CommandsQueue"]["Properties"]["QueueName"] == binding["queueName"]
    seconds = int(pubsub["messageVisibilityTimeout"])
    queues = [resources["CommandsQueue"], resources["HandlersQueue"], HOST["Resources"]["Queue"]]
    assert {queue["Properties"]["VisibilityTimeout"] for queue in queues} == {seconds}
    tries = {queue["Properties"]["RedrivePolicy"]["maxReceiveCount"] for queue in queues[:2]}
    assert max(tries) < int(pubsub["messageRetryLimit"]), "the component would delete it first"


def test_topics_have_the_names_that_the_manager_uses():
    names = Names()
    topics = {each["Properties"]["TopicName"] for each in _of_type(MANAGER, "AWS::SNS::Topic")}
    assert topics == {names.commands_topic, names.events_topic, names.host_topic, names.dead_letters_topic}
    (own,) = _of_type(HOST, "AWS::SNS::Topic")
    assert own["Properties"]["TopicName"] == {"Sub": names.owner_topic("${HostId}")}


@pytest.mark.parametrize("task", TASKS, ids=["handlers", "host"])
def test_a_task_runs_both_containers_read_only_and_stops_the_manager_first_with_time_to_drain(task: dict[str, Any]):
    sidecar, manager = _containers(task)
    for container in (sidecar, manager):
        assert container["ReadonlyRootFilesystem"] is True
        assert container["Essential"] is True
        assert "Privileged" not in container
        assert "User" not in container, "the image's own, which is an ordinary one"
    assert manager["DependsOn"] == [{"ContainerName": "daprd", "Condition": "START"}]
    assert manager["StopTimeout"] > Limits().drain_deadline_s


@pytest.mark.parametrize("task", TASKS, ids=["handlers", "host"])
def test_ports_of_the_two_containers_agree_and_each_variable_is_a_setting(task: dict[str, Any]):
    sidecar, manager = _containers(task)
    options = dict(word.removeprefix("--").partition("=")[::2] for word in sidecar["Command"])
    variables = {each["Name"]: each["Value"] for each in manager["Environment"]}
    assert variables["APP_PORT"] == options["app-port"]
    assert variables["DAPR_GRPC_PORT"] == options["dapr-grpc-port"]
    assert variables["DAPR_HTTP_PORT"] == options["dapr-http-port"]
    known = {variable for name in Settings.model_fields for variable in Settings.variables(name)}
    assert variables.keys() <= known
    assert f":{RESULT.only('EXPOSE')}/livez" in manager["HealthCheck"]["Command"][-1]
    mode = manager["Command"][1]
    assert options["app-id"] == getattr(Names(), f"{mode}_app_id")
    asked = _environment_of_the_set() - {"AWS_ENDPOINT_URL"}  # for what speaks like AWS
    assert {each["Name"] for each in sidecar["Environment"]} == asked


def test_the_image_of_the_sidecar_holds_the_component_set_where_the_tasks_look_for_it():
    (stage,) = Dockerfile.read(FOLDER / "sidecar.Dockerfile").stages
    assert stage.only("COPY") == "*.yaml /components/"
    assert int(stage.only("USER").split(":")[0]) > 0
    for task in TASKS:
        assert "--resources-path=/components" in _containers(task)[0]["Command"]


def _containers(task: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    sidecar, manager = task["Properties"]["ContainerDefinitions"]
    assert (sidecar["Name"], manager["Name"]) == ("daprd", "manager")
    return sidecar, manager


def _of_type(template: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [each for each in template["Resources"].values() if each["Type"] == kind]


def _items() -> list[tuple[str, dict[str, Any]]]:
    documents = [yaml.safe_load(path.read_text()) for path in (COMPONENTS / "aws").glob("*.yaml")]
    return [(each["metadata"]["name"], item) for each in documents for item in each["spec"].get("metadata", [])]


def _metadata(name: str) -> dict[str, str]:
    return {item["name"]: item["value"] for component, item in _items() if component == name and "value" in item}


def _environment_of_the_set() -> set[str]:
    return {item["envRef"] for _, item in _items() if "envRef" in item}
