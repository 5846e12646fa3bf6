"""`deploy/azure-container-apps` without a Bicep compiler: grammar, names, and accord with what it deploys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from runtime.models.limits import Limits
from runtime.ports import Names
from runtime.settings import Settings
from tests.bicep import BicepFile, Expression
from tests.bicep_checks import problems
from tests.dockerfile import Dockerfile
from tests.sidecar import COMPONENTS, ROOT

pytestmark = pytest.mark.integration

FOLDER = ROOT / "deploy" / "azure-container-apps"
TEXTS = {path.name: path.read_text() for path in sorted(FOLDER.glob("*.bicep"))}
FILES = {name: BicepFile.parse(text, Path(name)) for name, text in TEXTS.items()}
COMPONENT = "Microsoft.App/managedEnvironments/daprComponents@"
POLICY = "Microsoft.App/managedEnvironments/daprComponents/resiliencyPolicies@"
NAMES = Names()
RESULT = Dockerfile.read(ROOT / "deploy" / "Dockerfile").stages[-1]


def test_the_files_are_whole_and_each_name_in_them_leads_to_something():
    assert problems(FILES) == []
    modules = {each.what for each in FILES["main.bicep"].of_kind("module").values()}
    assert modules | {"main.bicep"} == set(FILES)


MISTAKES = {
    "a bracket": ("host.bicep", "containers: [", "containers: ", "host.bicep:"),
    "a parameter that is not there": (
        "host.bicep",
        "maxReplicas: replicas",
        "maxReplicas: replica",
        "replica is declared nowhere",
    ),
    "a parameter that nobody reads": (
        "vault.bicep",
        "param name string",
        "param name string\nparam old string",
        "old is not used",
    ),
    "a parameter that is not given": (
        "main.bicep",
        "    replicas: hosts\n",
        "",
        "the module host is not given replicas",
    ),
    "a parameter that the module has not": (
        "main.bicep",
        "replicas: hosts",
        "replicas: hosts\n    size: hosts",
        "has no parameter size",
    ),
    "an output that the module has not": (
        "main.bicep",
        "state.outputs.url",
        "state.outputs.uri",
        "state.bicep has no output uri",
    ),
    "a file that is not there": ("main.bicep", "'state.bicep'", "'store.bicep'", "no file store.bicep"),
    "a misspelt property": (
        "handlers.bicep",
        "minReplicas: 0",
        "minReplica: 0",
        "no property properties.template.scale.minReplica",
    ),
    "a property at the wrong place": (
        "host.bicep",
        "      terminationGracePeriodSeconds: 60",
        "      gracePeriod: 60",
        "no property properties.template.gracePeriod",
    ),
    "a version that is not there": (
        "vault.bicep",
        "vaults@2026-05-15",
        "vaults@2026-05-16",
        "is not a known type with version",
    ),
    "a key": ("environment.bicep", "stateUrl }", "listKeys(stateUrl) }", "the function listKeys"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str):
    name, right, wrong, said = MISTAKES[mistake]
    assert TEXTS[name].count(right) == 1
    planted = BicepFile.parse(TEXTS[name].replace(right, wrong), Path(name))
    assert any(said in problem for problem in problems({**FILES, name: planted}))


def test_the_components_are_those_of_the_set_azure():
    made = {each.body["name"]: each.body["properties"] for each in _resources("environment.bicep", COMPONENT)}
    wanted = {path.stem: yaml.safe_load(path.read_text()) for path in (COMPONENTS / "azure").glob("*.yaml")}
    wanted = {each["metadata"]["name"]: each for each in wanted.values() if each["kind"] == "Component"}
    assert made.keys() == wanted.keys()
    for name, component in wanted.items():
        spec, properties = component["spec"], made[name]
        assert (properties["componentType"], properties["version"]) == (spec["type"], spec["version"])
        assert properties.get("initTimeout") == spec.get("initTimeout")
        assert {_text(scope) for scope in properties["scopes"]} == set(component.get("scopes", []))
        given = {item["name"]: item["value"] for item in properties["metadata"]}
        for item in spec["metadata"]:
            value = given.pop(item["name"])
            assert value == item["value"] if "value" in item else isinstance(value, Expression), item
        assert given == {}


def test_the_policies_of_redelivery_are_those_of_the_set_azure():
    policies = yaml.safe_load((COMPONENTS / "azure" / "resiliency.yaml").read_text())["spec"]["policies"]
    retry = policies["retries"]["redelivery"]
    made = _resources("environment.bicep", POLICY)
    assert {each.body["parent"].text for each in made} == {"pubsub", "commands"}
    for each in made:
        inbound = each.body["properties"]["inboundPolicy"]
        assert f"{inbound['timeoutPolicy']['responseTimeoutInSeconds']}s" == policies["timeouts"]["delivery"]
        assert inbound["httpRetryPolicy"]["maxRetries"] == retry["maxRetries"]
        pauses = set(inbound["httpRetryPolicy"]["retryBackOff"].values())
        assert {f"{pause // 1000}s" for pause in pauses} == {retry["duration"]}


@pytest.mark.parametrize("mode", ["handlers", "host"])
def test_an_app_agrees_with_the_image_the_settings_and_its_sidecar(mode: str):
    app = _app(mode)
    configuration, template = app["properties"]["configuration"], app["properties"]["template"]
    (container,) = template["containers"]
    assert app["name"] == configuration["dapr"]["appId"] == getattr(NAMES, f"{mode}_app_id")
    assert container["args"] == ["--mode", mode]
    variables = {item["name"]: item["value"] for item in container["env"]}
    known = {variable for name in Settings.model_fields for variable in Settings.variables(name)}
    assert variables.keys() <= known
    assert variables["APP_PORT"] == str(configuration["dapr"]["appPort"])
    assert (configuration["dapr"]["appProtocol"], configuration["dapr"]["appHealth"]["enabled"]) == ("grpc", True)
    probes = {each["type"]: each["httpGet"] for each in container["probes"]}
    port = int(RESULT.only("EXPOSE"))
    assert probes == {
        "Startup": {"path": "/livez", "port": port},
        "Liveness": {"path": "/livez", "port": port},
        "Readiness": {"path": "/readyz", "port": port},
    }
    assert template["terminationGracePeriodSeconds"] > Limits().drain_deadline_s


def test_handlers_scale_from_zero_on_all_that_they_read_by_their_identity():
    scale = _app("handlers")["properties"]["template"]["scale"]
    assert scale["minReplicas"] == 0
    rules = [rule["custom"] for rule in scale["rules"]]
    assert {(rule["type"], rule["identity"]) for rule in rules} == {("azure-servicebus", Expression("identityId"))}
    on = {
        (rule["metadata"].get("queueName") or rule["metadata"]["topicName"], rule["metadata"].get("subscriptionName"))
        for rule in rules
    }
    app = NAMES.handlers_app_id
    read = {(NAMES.commands_topic, app), (NAMES.dead_letters_topic, app)}
    queue = FILES["messaging.bicep"].declared["commands"].body["name"]
    assert on == {(queue, None)} | read
    binding = yaml.safe_load((COMPONENTS / "azure" / "websocket-commands.yaml").read_text())
    assert {"name": "queueName", "value": queue} in binding["spec"]["metadata"]
    assert queue not in {NAMES.commands_topic, NAMES.events_topic, NAMES.host_topic, NAMES.dead_letters_topic}, (
        "a name is held once"
    )
    readers = FILES["messaging.bicep"].declared["readers"].body
    assert {(each["topic"], each["app"]) for each in readers} == read | {(NAMES.host_topic, NAMES.host_app_id)}


def test_hosts_are_a_fixed_number_and_never_none():
    scale = _app("host")["properties"]["template"]["scale"]
    assert scale == {"minReplicas": Expression("replicas"), "maxReplicas": Expression("replicas")}
    assert "@minValue(1)\nparam hosts int" in TEXTS["main.bicep"]


def test_there_is_no_key_and_no_password():
    assert not [
        name for name, text in TEXTS.items() if "@secure" in text or "listKeys" in text or "onnectionString" in text
    ]
    assert FILES["messaging.bicep"].declared["namespace"].body["properties"]["disableLocalAuth"] is True
    assert FILES["state.bicep"].declared["account"].body["properties"]["disableLocalAuth"] is True
    assert FILES["vault.bicep"].declared["vault"].body["properties"]["enableRbacAuthorization"] is True


def _app(mode: str) -> dict[str, Any]:
    body: dict[str, Any] = FILES[f"{mode}.bicep"].declared["app"].body
    return body


def _resources(name: str, what: str) -> list[Any]:
    return [each for each in FILES[name].of_kind("resource").values() if each.what.startswith(what)]


def _text(value: Any) -> str:
    """A text, or what a variable of the environment's file says."""
    return value if isinstance(value, str) else str(FILES["environment.bicep"].declared[value.text].body)
