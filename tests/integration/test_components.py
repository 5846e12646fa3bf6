"""The component sets in a real sidecar: each loads whole, under the names that the manager asks for."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request

import pytest
import yaml

from runtime.ports import Names
from tests.brokers import make_queue, make_table
from tests.sidecar import COMPONENTS, DIRECT, Sidecar, started_sidecar

pytestmark = pytest.mark.integration

NAMES = Names()
AZURE = "azure"  # nothing on this machine stands behind it: see the end
SETS = sorted(path.name for path in COMPONENTS.iterdir() if path.is_dir() and path.name != AZURE)
SECRETSTORE = "secretstore"
OF_HANDLERS, OF_HOST = {NAMES.commands_binding}, {NAMES.sweep_binding}


def manifests(name: str) -> dict[str, list[dict[str, Any]]]:
    """The documents of a set, by file."""
    files = sorted((COMPONENTS / name).glob("*.yaml"))
    return {path.name: list(yaml.safe_load_all(path.read_text())) for path in files}


def component(name: str, component_name: str) -> dict[str, Any]:
    documents = [document for file in manifests(name).values() for document in file]
    (found,) = [d for d in documents if d["kind"] == "Component" and d["metadata"]["name"] == component_name]
    return found


def values(document: dict[str, Any]) -> dict[str, str]:
    return {item["name"]: item["value"] for item in document["spec"]["metadata"] if "value" in item}


NEEDS = {
    "memory": [],
    "local": ["redis", "mosquitto"],
    "postgres": ["redis", "postgres"],
    "aws": ["moto"],
    "kafka": ["kafka", "postgres"],
    "rabbitmq": ["rabbitmq", "postgres"],
    "jetstream": ["nats", "postgres"],
}


@pytest.fixture
def environment(request: pytest.FixtureRequest, name: str, secrets_file: dict[str, str]) -> dict[str, str]:
    """What the components of a set read, with everything behind them up."""
    env = dict(secrets_file)
    for need in NEEDS[name]:
        env |= request.getfixturevalue(need).env
    if name == "aws":
        moto = request.getfixturevalue("moto")
        make_table(moto, values(component("aws", NAMES.statestore))["table"])
        make_queue(moto, values(component("aws", NAMES.commands_binding))["queueName"])
    return env


@pytest.fixture
def sidecars(name: str, environment: dict[str, str], tmp_path: Path) -> Iterator[dict[str, Sidecar]]:
    """The sidecar of each app on a set."""
    ids = (NAMES.handlers_app_id, NAMES.host_app_id)
    handlers, host = (Sidecar(app_id, COMPONENTS / name, tmp_path, env=environment) for app_id in ids)
    with started_sidecar(handlers), started_sidecar(host):
        yield {handlers.app_id: handlers, host.app_id: host}


EXPECTED = {
    "memory": {
        NAMES.pubsub: "pubsub.in-memory",
        NAMES.statestore: "state.in-memory",
        NAMES.sweep_binding: "bindings.cron",
    },
    "local": {
        NAMES.pubsub: "pubsub.redis",
        NAMES.statestore: "state.redis",
        NAMES.sweep_binding: "bindings.cron",
        NAMES.commands_binding: "bindings.mqtt3",
        SECRETSTORE: "secretstores.local.file",
    },
    "postgres": {
        NAMES.pubsub: "pubsub.redis",
        NAMES.statestore: "state.postgresql",
        NAMES.sweep_binding: "bindings.cron",
        SECRETSTORE: "secretstores.local.file",
    },
    "aws": {
        NAMES.pubsub: "pubsub.aws.snssqs",
        NAMES.statestore: "state.aws.dynamodb",
        NAMES.sweep_binding: "bindings.cron",
        NAMES.commands_binding: "bindings.aws.sqs",
        SECRETSTORE: "secretstores.aws.secretmanager",
    },
    **{
        broker: {
            NAMES.pubsub: f"pubsub.{broker}",
            NAMES.statestore: "state.postgresql",
            NAMES.sweep_binding: "bindings.cron",
            SECRETSTORE: "secretstores.local.file",
        }
        for broker in ("kafka", "rabbitmq", "jetstream")
    },
}


def test_each_set_is_expected_here() -> None:
    assert sorted(EXPECTED) == SETS


@pytest.mark.parametrize("name", SETS)
def test_each_app_gets_exactly_its_components(name: str, sidecars: dict[str, Sidecar]) -> None:
    scoped = name != "memory"  # where one app is both
    for app_id, others in ((NAMES.handlers_app_id, OF_HOST), (NAMES.host_app_id, OF_HANDLERS)):
        wanted = {k: v for k, v in EXPECTED[name].items() if not (scoped and k in others)}
        assert sidecars[app_id].components() == wanted
        assert [r["name"] for r in sidecars[app_id].metadata()["resiliencies"]] == ["websocket-manager"]


@pytest.mark.parametrize("name", [name for name in SETS if name != "memory"])
def test_handlers_and_host_see_the_same_keys(name: str, sidecars: dict[str, Sidecar]) -> None:
    handlers, host = sidecars.values()
    body = json.dumps([{"key": "websocket-shared", "value": name}]).encode()
    headers = {"Content-Type": "application/json"}
    with DIRECT.open(Request(f"{handlers.url}/state/{NAMES.statestore}", body, headers), timeout=10) as answer:
        assert answer.status == 204
    with DIRECT.open(f"{host.url}/state/{NAMES.statestore}/websocket-shared", timeout=10) as answer:
        assert json.load(answer) == name


@pytest.mark.parametrize("name", ["local"])
def test_others_see_topics_but_neither_records_nor_secrets(
    name: str, environment: dict[str, str], tmp_path: Path
) -> None:
    with started_sidecar(Sidecar("somebody-else", COMPONENTS / name, tmp_path, env=environment)) as sidecar:
        assert set(sidecar.components()) == {NAMES.pubsub}


@pytest.mark.parametrize("name", ["local"])
def test_a_secret_of_the_file_can_be_read(name: str, sidecars: dict[str, Sidecar]) -> None:
    url = f"{sidecars[NAMES.host_app_id].url}/secrets/{SECRETSTORE}/feed-token"
    with DIRECT.open(url, timeout=10) as answer:
        assert json.load(answer) == {"feed-token": "s3cret"}


@pytest.mark.parametrize("name", [*SETS, AZURE])
def test_a_resiliency_is_alone_in_its_file(name: str) -> None:
    files = [[document["kind"] for document in file] for file in manifests(name).values()]
    assert ["Resiliency"] in files
    assert all(kinds == ["Resiliency"] or "Resiliency" not in kinds for kinds in files)


@pytest.mark.parametrize("name", [*SETS, AZURE])
def test_each_input_has_an_inbound_retry_whose_total_is_below_the_time_of_redelivery(name: str) -> None:
    ((resiliency,),) = [f for f in manifests(name).values() if f[0]["kind"] == "Resiliency"]
    policies, targets = resiliency["spec"]["policies"], resiliency["spec"]["targets"]["components"]
    assert set(targets) == {NAMES.pubsub, NAMES.commands_binding} & set({**EXPECTED, AZURE: AZURE_TYPES}[name])
    for target in targets.values():
        retry = policies["retries"][target["inbound"]["retry"]]
        try_s = seconds(policies["timeouts"][target["inbound"]["timeout"]])
        total_s = (retry["maxRetries"] + 1) * try_s + retry["maxRetries"] * seconds(retry["duration"])
        assert total_s < redelivery_s(values(component(name, NAMES.pubsub)))


def seconds(duration: str) -> float:
    match = re.fullmatch(r"(\d+)s", duration)
    assert match is not None, duration
    return float(match[1])


def redelivery_s(metadata: dict[str, str]) -> float:
    """After how long the broker gives a message out again; redelivery in a process never happens."""
    if "processingTimeout" in metadata:
        assert metadata["redeliverInterval"].isdecimal()  # the component ignores a duration there
        return int(metadata["processingTimeout"]) / 1000
    if "ackWait" in metadata:
        return seconds(metadata["ackWait"])
    return float(metadata.get("messageVisibilityTimeout") or metadata.get("handlerTimeoutInSec") or "inf")


AZURE_TYPES = {
    NAMES.pubsub: "pubsub.azure.servicebus.topics",
    NAMES.statestore: "state.azure.cosmosdb",
    NAMES.sweep_binding: "bindings.cron",
    NAMES.commands_binding: "bindings.azure.servicebusqueues",
    SECRETSTORE: "secretstores.azure.keyvault",
}
NOWHERE = {
    "SERVICEBUS_NAMESPACE": "127.0.0.1",
    "COSMOS_URL": "https://127.0.0.1:1/",
    "KEY_VAULT_NAME": "nobody",
    "AZURE_CLIENT_ID": "",
}


def test_the_set_for_azure_holds_no_key_and_names_what_the_manager_asks_for() -> None:
    documents = [d for file in manifests(AZURE).values() for d in file if d["kind"] == "Component"]
    assert {d["metadata"]["name"]: d["spec"]["type"] for d in documents} == AZURE_TYPES
    named = {item["name"] for d in documents for item in d["spec"]["metadata"]}
    assert not named & {"connectionString", "masterKey", "azureClientSecret", "azureCertificate"}
    of_azure = [d for d in documents if ".azure." in d["spec"]["type"]]
    assert all("azureClientId" in {item["name"] for item in d["spec"]["metadata"]} for d in of_azure)


@pytest.mark.parametrize("name", [name for name, type_ in AZURE_TYPES.items() if ".azure." in type_])
def test_each_component_for_azure_is_known_to_the_sidecar_which_lacks_only_azure_behind_it(
    name: str, tmp_path: Path
) -> None:
    (resources := tmp_path / "one").mkdir()
    shutil.copy(COMPONENTS / AZURE / f"{name}.yaml", resources)
    sidecar = Sidecar(NAMES.handlers_app_id, resources, tmp_path, env=NOWHERE)
    title = f"{name} ({AZURE_TYPES[name]}/v1)"
    said = (f"Component loaded: {title}", f"Failed to init component {title}")
    try:
        sidecar.spawn()
        log, deadline = "", time.monotonic() + sidecar.patience_s
        while not any(words in log for words in said) and time.monotonic() < deadline:
            time.sleep(0.02)
            log = sidecar.log.read_text()
    finally:
        sidecar.kill()
    assert "CREATE_COMPONENT_FAILURE" not in log, log  # of a type that it does not know
    assert said[0] in log or "credential" in log.lower(), log
