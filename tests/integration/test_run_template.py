"""`dapr run -f deploy/dapr.yaml` without the CLI: the file is read as the CLI reads it, and what it says is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from deploy.local.plan import BASE_PORT, FOLDER, ROOT, apps, sidecar_config
from runtime.feed import local_feed
from runtime.ports import Names
from tests.brokers import running_mosquitto, running_redis
from tests.processes import Process, free_ports
from tests.run_template import Described, read_template
from tests.sidecar import DIRECT, daprd_path
from tests.wsm import Background, wsm

pytestmark = pytest.mark.integration

TEMPLATE = ROOT / "deploy" / "dapr.yaml"
NOT_ASKED_FOR = {"APP_ID", "APP_PROTOCOL", "DAPR_METRICS_PORT"}  # the CLI sets them, and the manager reads them nowhere


def test_it_describes_the_same_apps_with_the_same_sidecars_as_make_up():
    parts = {part.name: part for part in apps(FOLDER, BASE_PORT, 1, {}, daprd="daprd", wsm=[".venv/bin/wsm"])}
    described = read_template(TEMPLATE)
    assert [app.app_id for app in described] == [Names().handlers_app_id, Names().host_app_id]
    for name, app in zip(("handlers", "host-1"), described, strict=True):
        assert app.folder == ROOT
        assert tuple(app.command) == parts[name].command
        told = {key: value for key, value in app.env.items() if key not in NOT_ASKED_FOR}
        assert told == dict(parts[name].env)
        assert options(app.options) == options(parts[f"{name}.daprd"].command[1:])


def test_what_it_describes_makes_a_connection_on_its_one_host(tmp_path: Path, secrets_file: dict[str, str]):
    move = cache(lambda port: free_ports(1)[0])
    described = read_template(TEMPLATE, move)
    with ExitStack() as stack:
        brokers = [stack.enter_context(running(tmp_path)) for running in (running_redis, running_mosquitto)]
        shell = {**brokers[0].env, **brokers[1].env, **secrets_file, "WSM_ALLOW_PRIVATE": "true"}
        processes = stack.enter_context(started(described, tmp_path, shell))
        feed = stack.enter_context(Background(local_feed(0.05)))
        port = move(BASE_PORT)
        made = wsm("connect", feed.value.url, "--id", "prices", "--topic", "prices", "--wait", port=port)
        assert made.code == 0, "\n".join([made.stderr, *(f"{each.name}:\n{each.tail()}" for each in processes)])
        (shown,) = wsm("list", "--json", port=port).lines()
        assert (shown["id"], shown["status"], shown["instanceId"]) == ("prices", "Connected", "host-1")
        assert [host["id"] for host in wsm("instances", "--json", port=port).lines()] == ["host-1"]


def common_too(template: dict) -> None:
    template["common"]["appHealthInterval"] = 1  # it is appHealthProbeInterval


def app_too(template: dict) -> None:
    template["apps"][0]["appHttpPort"] = 1


def top_too(template: dict) -> None:
    template["resiliency"] = {}


def app_key_for_all(template: dict) -> None:
    template["common"]["appPort"] = 1


@pytest.mark.parametrize("spoil", [common_too, app_too, top_too, app_key_for_all])
def test_a_key_that_the_cli_would_pass_over_is_found(tmp_path: Path, spoil: Callable[[dict], None]):
    template = yaml.safe_load(TEMPLATE.read_text())
    spoil(template)
    path = tmp_path / "dapr.yaml"
    path.write_text(yaml.safe_dump(template))
    with pytest.raises(AssertionError, match="passes over"):
        read_template(path)


@contextmanager
def started(described: list[Described], folder: Path, shell: Mapping[str, str]) -> Iterator[list[Process]]:
    """What the CLI runs for the apps when `shell` is its environment; nothing of it is left.

    Two things are ours: names come from a file instead of by mDNS, and no port is open to the network.
    """
    config = folder / "daprd.yaml"
    config.write_text(sidecar_config(folder))
    ours = ("--dapr-internal-grpc-listen-address", "127.0.0.1", "--metrics-listen-address", "127.0.0.1")
    sidecar = (daprd_path(), "--config", str(config), *ours)
    shell = {"DAPR_HOST_IP": "127.0.0.1", **shell}
    processes = []
    with ExitStack() as stack:
        for app in described:
            where = ("env", "--chdir", str(app.folder))
            is_up = partial(answers, int(app.env["DAPR_HTTP_PORT"]))
            processes += [
                Process(app.app_id, [*where, *app.command], folder, is_up, env={**shell, **app.env}),
                Process(f"{app.app_id}.daprd", [*where, *sidecar, *app.options], folder, is_up, env=shell),
            ]
        for process in processes:
            stack.callback(process.kill)
            process.spawn()
        for process in processes:
            process.wait_ready()
        yield processes


def answers(port: int) -> bool:
    """Whether a sidecar is up, and has found its app."""
    try:
        with DIRECT.open(f"http://127.0.0.1:{port}/v1.0/healthz", timeout=1) as answer:
            return answer.status == 204
    except OSError:
        return False


def options(words: Sequence[str]) -> dict[str, str]:
    """The options of a daprd, less those that the CLI has no word for or decides itself."""
    found = {
        word: "" if following.startswith("--") else following
        for word, following in pairwise([*words, "--"])
        if word.startswith("--")
    }
    own = ("--config", "--dapr-internal-grpc-listen-address", "--metrics-listen-address")
    return {option: value for option, value in found.items() if option not in own}
