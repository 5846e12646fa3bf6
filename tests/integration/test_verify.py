"""`make verify` finds what is wrong in files of deployment, and where: each kind of mistake is planted in a copy."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.verify import bicep, checks, cloudformation, rendered, sidecar
from deploy.verify.documents import files
from deploy.verify.problems import MissingPartError, Problem
from tests.cloud_events import read_cloud_event
from tests.peers import until
from tests.processes import free_ports
from tests.receiver import receiver
from tests.sidecar import ROOT

pytestmark = pytest.mark.integration

HOST = "deploy/kubernetes/base/host.yaml"
HANDLERS = "deploy/kubernetes/base/handlers.yaml"
ALERTS = "deploy/kubernetes/base/alerts.yaml"
KNATIVE = "deploy/knative/handlers/service.yaml"
PUBSUB = "components/postgres/pubsub.yaml"
STATIC = [
    # what a file is
    (HOST, "  replicas: 2", "  replicas: [2", "no YAML"),
    (HOST, "  replicas: 2", "  replicas: 2\n  replicas: 3", "replicas: is there twice"),
    ("deploy/knative/embedded/connections.yaml", "  url: wss:", "  uri: wss:", "uri"),
    ("deploy/dapr.yaml", "version: 1", "edition: 1", "is neither a resource of a cluster nor"),
    # schemas
    (HOST, "serviceName:", "serviceNam:", "spec.serviceNam: Additional properties are not allowed"),
    (HOST, "  replicas: 2", '  replicas: "2"', "spec.replicas: '2' is not of type"),
    (PUBSUB, "  type:", "  typ:", "'typ' was unexpected"),
    (KNATIVE, "containerConcurrency: 50", "containerConcurrancy: 50", "'containerConcurrancy' was unexpected"),
    ("deploy/knative/handlers/trigger.yaml", "retry: 8", "retry: often", "spec.delivery.retry: 'often'"),
    ("deploy/knative/container-source.yaml", "emptyDir:", "emptyDirectory:", "emptyDirectory"),
    ("deploy/kubernetes/overlays/kafka/scaling.yaml", "minReplicaCount: 1", "minReplicaCount: one", "minReplicaCount"),
    (
        "deploy/kubernetes/overlays/kafka/scaling.yaml",
        "lagThreshold",
        "lagTreshold",
        "the trigger kafka has no lagTresh",
    ),
    (ALERTS, "      rules:", "      rulez:", "'rulez' was unexpected"),
    (HOST, "kind: StatefulSet", "kind: StatefulSets", "no schema of apps/v1/StatefulSets is known"),
    (PUBSUB, "name: redisHost", "name: redisHots", "pubsub.redis/v1 has no field redisHots"),
    ("components/kafka/pubsub.yaml", "name: brokers", "name: direction", "pubsub.kafka/v1 needs the field brokers"),
    # names
    (
        HOST,
        "WSM_MAX_CONNECTIONS",
        "WSM_MAX_CONNECTION",
        "no setting reads WSM_MAX_CONNECTION; WSM_MAX_CONNECTIONS is meant?",
    ),
    (HOST, 'value: "20" }', "value: soon }", "WSM_DRAIN_DEADLINE_S"),
    ("deploy/aws/host.yaml", "WSM_INSTANCE_ID", "WSM_INSTANCE_IDS", "no setting reads WSM_INSTANCE_IDS"),
    (
        "deploy/kubernetes/overlays/kafka/scaling.yaml",
        "topic: websocket-commands",
        "topic: websocket-comands",
        "websocket-comands",
    ),
    (PUBSUB, "name: pubsub\n", "name: pubsubs\n", "the manager asks for no component pubsubs"),
    (PUBSUB, "name: pubsub\n", "name: statestore\n", "statestore must be of a type that begins with state."),
    (
        "components/aws/statestore.yaml",
        "  - websocket-host\n",
        "  - websocket-hosts\n",
        "no app is called websocket-hosts",
    ),
    ("components/local/resiliency.yaml", "      pubsub:", "      pubsubs:", "no component is called pubsubs"),
    ("deploy/dapr.yaml", "appID: websocket-host", "appID: websocket-host-1", "no app is called websocket-host-1"),
    (
        "deploy/knative/README.md",
        'autoscaling.knative.dev/min-scale: "1"',
        "WSM_MIN_SCALE",
        "no setting reads WSM_MIN_SCALE",
    ),
    # pods
    (HOST, "dapr.io/app-id: websocket-host", "dapr.io/app-id: websocket-handlers", "must be websocket-host, is"),
    (HOST, "dapr.io/block-shutdown-duration", "dapr.io/block-shutdown-seconds", "has no such annotation"),
    (HOST, '"30s"', '"10s"', "is shorter than the drain of 20 s"),
    (
        HOST,
        "terminationGracePeriodSeconds: 50",
        "terminationGracePeriodSeconds: 30",
        "30 s end the sidecar before its 30 + 15",
    ),
    (HOST, "memory: 896Mi", "memory: 768Mi", "768Mi is less than 1.2 times the 712 MiB"),
    (HOST, 'dapr.io/app-port: "6001"', 'dapr.io/app-port: "6002"', "must be 6001, is 6002"),
    (HOST, "containerPort: 9464", "containerPort: 9465", "must be WSM_OPS_PORT, 9464"),
    (HANDLERS, "path: /readyz", "path: /ready", "must be /readyz"),
    (HANDLERS, "path: /readyz, port: ops", "path: /readyz, port: opz", "the container has no port opz"),
    (
        KNATIVE,
        'dapr.io/metrics-port: "9095"',
        'dapr.io/metrics-port: "9090"',
        "port 9090 of the sidecar (dapr.io/metrics-port)",
    ),
    (KNATIVE, "containerPort: 8080", "containerPort: 8081", "must be WSM_EVENTS_PORT, 8080"),
    ("deploy/dapr.yaml", "metricsPort: 3513", "metricsPort: 3503", "port 3503 is taken by websocket-handlers"),
    # network and alerts
    (
        "deploy/kubernetes/base/network.yaml",
        "              - 172.16.0.0/12 # private\n",
        "",
        "lacks private network 172.16.0.0/12",
    ),
    (ALERTS, "wsm_queued_bytes", "wsm_queue_bytes", "/metrics shows no wsm_queue_bytes"),
    (
        ALERTS,
        "expr: sum(increase(wsm_dead_letters_total[10m])) > 0",
        "expr: sum(wsm_dead_letters_total[) > 0",
        "no PromQL",
    ),
    (ALERTS, "#wsmnohost", "#wsmnohosts", "must be docs/runbook.md#wsmnohost"),
    (ALERTS, 'promise: "3"', 'promise: "2"', "promise 3 has no alert"),
    ("docs/runbook.md", "## WsmNoHost", "## No host", "docs/runbook.md has no heading WsmNoHost"),
]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of all that is checked."""
    for folder in ("deploy", "components", "docs", ".github"):
        left_out = shutil.ignore_patterns("__pycache__", "node_modules")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=left_out)
    return tmp_path


def plant(root: Path, file: str, old: str, new: str) -> int:
    """Put a mistake into a file; the line where it is."""
    text = (root / file).read_text()
    assert old in text, f"{file} does not say {old!r} any more"
    (root / file).write_text(text.replace(old, new, 1))
    return text.count("\n", 0, text.index(old)) + 1


def of_files(root: Path) -> list[Problem]:
    documents, problems = checks.read(root, list(files(root)))
    return problems + list(checks.of_files(root, documents))


@pytest.mark.parametrize(("file", "old", "new", "what"), STATIC, ids=[each[3][:40] for each in STATIC])
def test_a_mistake_in_a_file_is_found_with_its_file_and_line(copy: Path, file: str, old: str, new: str, what: str):
    line = plant(copy, file, old, new)
    found = [problem for problem in of_files(copy) if what in problem.what]
    assert found, [str(problem) for problem in of_files(copy)]
    if file != "docs/runbook.md":  # there it is the link that leads nowhere
        assert {str(problem.file) for problem in found} == {file}
        # Of what is missing the field around it is named.
        assert any(abs(problem.line - line) <= 2 or re.search("lacks|needs|no alert", what) for problem in found)
    assert str(found[0]).startswith(f"{found[0].file}:{found[0].line}: ")


def test_a_wrong_field_is_named_by_its_path_on_its_own_line(copy: Path):
    line = plant(copy, HOST, "  replicas: 2", '  replicas: "2"')
    (problem,) = of_files(copy)
    assert str(problem).startswith(f"{HOST}:{line}: spec.replicas: ")


def test_json_that_ends_too_early_is_found(copy: Path):
    (copy / "deploy" / "aws" / "policy.json").write_text('{\n "Version": \n')
    assert [(str(p.file), p.what) for p in of_files(copy)] == [("deploy/aws/policy.json", "no JSON: Expecting value")]


RENDERED = [
    (HOST, "268435456", "268435457", "WsmQueuesNearBound is for 268435456 bytes"),
    ("deploy/kubernetes/base/kustomization.yaml", "  - host.yaml", "  - hosts.yaml", "kustomize: "),
    (
        "deploy/kubernetes/base/kustomization.yaml",
        "  - accounts.yaml\n",
        "",
        "serviceAccountName websocket-manager is not there",
    ),
    ("deploy/kubernetes/base/disruption.yaml", "name: websocket-host\n", "name: websocket-host-1\n", None),
    (
        "deploy/kubernetes/base/network.yaml",
        "app.kubernetes.io/name: websocket-host",
        "app.kubernetes.io/name: host",
        "no pod has",
    ),
    (
        "deploy/kubernetes/overlays/kafka/workloads.yaml",
        "KAFKA_BROKERS=",
        "KAFKA_BROKER=",
        "reads KAFKA_BROKERS, which no annotation",
    ),
    (
        "deploy/kubernetes/overlays/kafka/workloads.yaml",
        ":kafka-brokers",
        ":brokers",
        "websocket-backends without the key brokers",
    ),
    (HOST, "websocket-app-token", "websocket-app-tokens", "the README makes no Secret websocket-app-tokens"),
    (
        "deploy/kubernetes/overlays/kafka/scaling.yaml",
        "    name: websocket-handlers",
        "    name: handlers",
        "scaleTargetRef names",
    ),
    (
        "deploy/kubernetes/overlays/kafka/kustomization.yaml",
        "  - ../../../../components/kafka/statestore.yaml\n",
        "",
        None,
    ),
    (
        "deploy/knative/embedded/sink-binding.yaml",
        "    kind: StatefulSet",
        "    kind: Deployment",
        "subject names Deployment",
    ),
]


@pytest.mark.parametrize(("file", "old", "new", "what"), RENDERED, ids=[f"{i}" for i in range(len(RENDERED))])
def test_a_mistake_that_shows_only_between_files_is_found_in_what_kustomize_makes(
    copy: Path, file: str, old: str, new: str, what: str | None
):
    plant(copy, file, old, new)
    documents, _ = checks.read(copy, [each for each in files(copy) if each.parent == Path(file).parent])
    found = [str(problem) for problem in rendered.check(copy, documents)]
    if what is not None:  # else it is no mistake: the check does not cry out at everything
        assert [each for each in found if what in each], found
    else:
        assert found == []


def test_a_type_that_the_sidecar_does_not_know_is_found(copy: Path):
    line = plant(copy, PUBSUB, "type: pubsub.redis", "type: pubsub.reddis")
    plant(copy, "components/kafka/statestore.yaml", "version: v2", "version: v7")
    documents, _ = checks.read(copy, list(files(copy)))
    assert [str(problem) for problem in sidecar.check(documents)] == [
        "components/kafka/statestore.yaml:8: spec.type: the sidecar knows no state.postgresql/v7",
        f"{PUBSUB}:{line}: spec.type: the sidecar knows no pubsub.reddis/v1",
    ]


def test_without_a_sidecar_nothing_is_taken_for_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(MissingPartError, match="make sidecar"):
        sidecar.unknown_types(["pubsub.redis/v1"])
    with pytest.raises(MissingPartError, match=r"build\.sh"):
        rendered.kustomize()


def test_a_wrong_template_of_cloudformation_is_found(copy: Path):
    line = plant(copy, "deploy/aws/host.yaml", "MaximumPercent: 100", "MaximumPercentage: 100")
    documents, _ = checks.read(copy, list(files(copy)))
    found = [str(problem) for problem in cloudformation.check(copy, documents)]
    assert [each for each in found if each.startswith(f"deploy/aws/host.yaml:{line}: ")], found


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("  properties: {\n", "  properties: \n", "closes nothing"),
        ("'Microsoft.App/containerApps@2026-07-01'", "'Microsoft.App/containerApps'", "is no type with a version"),
        ("name: 'manager'", "name: 'manager", "a text does not end"),
    ],
)
def test_a_mistake_in_bicep_is_found_as_far_as_can_be_seen_without_a_compiler(old: str, new: str, what: str):
    text = "resource a 'Microsoft.App/containerApps@2026-07-01' = {\n  properties: {\n    name: 'manager'\n  }\n}\n"
    file = Path("deploy/a.bicep")
    assert list(bicep.check(ROOT, file, text)) == []
    found = list(bicep.check(ROOT, file, text.replace(old, new)))
    assert what in found[0].what
    assert str(found[0]).startswith("deploy/a.bicep:")


def test_a_bicep_module_gets_the_parameters_that_it_takes(tmp_path: Path):
    (tmp_path / "part.bicep").write_text("param location string\nparam hosts int = 2\n")
    caller = "module part 'part.bicep' = {\n  name: 'part'\n  params: {\n    location: 'x'\n    size: 3\n  }\n}\n"
    found = [problem.what for problem in bicep.check(tmp_path, Path("main.bicep"), caller)]
    assert found == ["part.bicep has no parameter size"]
    found = [p.what for p in bicep.check(tmp_path, Path("main.bicep"), caller.replace("location: 'x'", ""))]
    assert "part.bicep needs the parameter location" in found
    assert "there is no parts.bicep" in [
        p.what for p in bicep.check(tmp_path, Path("main.bicep"), caller.replace("'part.bicep'", "'parts.bicep'"))
    ]


def test_this_checkout_has_nothing_wrong_and_the_command_says_so():
    done = subprocess.run(
        [sys.executable, "-m", "deploy.verify"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert re.fullmatch(r"verify: \d+ files, 0 problems\n", done.stdout)


def test_the_command_fails_with_a_line_for_each_problem(copy: Path):
    line = plant(copy, HOST, "WSM_MAX_CONNECTIONS", "WSM_MAX_CONNECTION")
    command = [sys.executable, "-m", "deploy.verify", str(copy)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert f"{HOST}:{line}: no setting reads WSM_MAX_CONNECTION" in done.stdout


def blocks(readme: Path, test: str) -> list[str]:
    """The commands of a README that a test runs."""
    pattern = rf"<!-- run by: \S+::{test} -->\n```sh\n(.*?)```"
    found: list[str] = re.findall(pattern, readme.read_text(), re.DOTALL)
    assert found, f"{readme} has no commands for {test}"
    return found


def test_the_commands_that_the_readme_gives_for_here_run(copy: Path):
    name = "test_the_commands_that_the_readme_gives_for_here_run"
    (block,) = blocks(ROOT / "deploy" / "kubernetes" / "README.md", name)
    done = subprocess.run(["sh", "-euc", block], cwd=copy, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kind: StatefulSet" in (copy / "manager.yaml").read_text()


async def test_the_commands_of_the_knative_readme_post_events_to_the_sink(tmp_path: Path):
    name = "test_the_commands_of_the_knative_readme_post_events_to_the_sink"
    (block,) = blocks(ROOT / "deploy" / "knative" / "README.md", name)
    (port,) = free_ports(1)
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("WSM_", "DAPR_", "K_"))}
    env = {**clean, "WSM_PORT": str(port), "WSM_OPS_PORT": "0", "TMPDIR": str(tmp_path)}
    async with receiver() as sink:
        process = subprocess.Popen(
            ["sh", "-uc", block],
            cwd=ROOT,
            env={**env, "K_SINK": sink.url},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            await until(lambda: process.poll() is not None, "the commands to end", 60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        said = process.communicate()[0].decode()
        assert "prices" in said, said
        await until(lambda: len(sink.requests) > 0, "an event at the sink", 30)
    events = [read_cloud_event(request.headers, request.body) for request in sink.requests]
    assert "io.websocket-manager.status" in {event["type"] for event in events}
