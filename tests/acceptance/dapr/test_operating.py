"""What an operator sees of handlers and host on real sidecars: probes, metrics, `wsm doctor`, and wrong keys."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request

import psutil
import pytest

from runtime.feed import local_feed
from tests.acceptance.dapr.stack import HANDLERS, HOST, Pair, make_pair
from tests.acceptance.manager import WSM
from tests.brokers import Broker, running_redis
from tests.processes import wait_until
from tests.sidecar import COMPONENTS, DIRECT
from tests.wsm import Background, Result, wsm

pytestmark = pytest.mark.acceptance

OLD = {"specversion": "1.0", "id": "1", "source": "x", "type": "x", "time": "2026-01-01T00:00:00Z"}
OPS = ("--ops-port", "0", "--vitals-interval-s", "1")


@dataclass
class Operated:
    handlers: Pair
    host: Pair
    redis: Broker

    @property
    def resources(self) -> str:
        """The folder of the components."""
        command = self.handlers.sidecar.command
        return command[command.index("--resources-path") + 1]

    def wsm(self, *args: str) -> Result:
        return wsm(*args, port=self.handlers.sidecar.http_port)


@contextmanager
def operated(folder: Path, *, key_prefix: str = "name", has_retries: bool = True) -> Iterator[Operated]:
    """Handlers and host apart on the local components, less those that need more than Redis."""
    resources = folder / "components"
    shutil.copytree(COMPONENTS / "local", resources)
    store = resources / "statestore.yaml"
    store.write_text(store.read_text().replace("value: name ", f"value: {key_prefix} "))
    (resources / "websocket-commands.yaml").unlink()
    (resources / "secretstore.yaml").unlink()
    if not has_retries:
        (resources / "resiliency.yaml").unlink()
    with ExitStack() as stack:
        redis = stack.enter_context(running_redis(folder))
        pairs = [
            make_pair("handlers", HANDLERS, folder, resources, redis.env, *OPS),
            make_pair("host", HOST, folder, resources, redis.env, *OPS, "--instance-id", "host-1"),
        ]
        for pair in pairs:
            stack.callback(pair.kill)
            pair.spawn()
        for pair in pairs:
            pair.app.wait_ready()
        yield Operated(pairs[0], pairs[1], redis)


def ask(pair: Pair, path: str) -> tuple[int, bytes]:
    where = pair.app.logged("started")[-1]["ops"]
    try:
        with DIRECT.open(f"http://{where}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def reasons(pair: Pair) -> dict[str, str]:
    """What `/readyz` says is wrong."""
    status, body = ask(pair, "/readyz")
    found = {name: check["reason"] for name, check in json.loads(body)["checks"].items() if not check["ok"]}
    assert (status == 200) is (not found)
    return found


def is_ready(pair: Pair) -> bool:
    return not reasons(pair)


until = partial(wait_until, patience_s=40)


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operated]:
    with operated(tmp_path_factory.mktemp("operated")) as stack:
        for pair in (stack.handlers, stack.host):
            asyncio.run(pair.until_up())
        yield stack


def test_the_doctor_finds_all_well(lasting: Operated):
    told = lasting.wsm("doctor", "--json")
    found = {line["check"]: line for line in told.lines()}
    assert [line for line in found.values() if not line["ok"]] == []
    assert told.code == 0
    assert found["pubsub"]["says"] == "'pubsub' is pubsub.redis"
    assert " ms" in found["topic"]["says"]
    assert {"keys", "state store", "cron", "nudges", "retries", "commands", "host"} <= found.keys()
    assert lasting.wsm("dead-letters").stdout == "", "the probe is no command"


def test_both_apps_are_ready_and_show_their_numbers(lasting: Operated):
    for pair, mode in ((lasting.handlers, "handlers"), (lasting.host, "host")):
        until(partial(is_ready, pair), f"{mode} is ready")
        assert ask(pair, "/livez")[0] == 200
        page = ask(pair, "/metrics")[1].decode()
        assert f'wsm_build_info{{mode="{mode}",profile="dapr",version=' in page
        assert ("wsm_lease_age_seconds" in page) is (mode == "host")
    lasting.wsm("disconnect", "nobody")
    assert 'wsm_commands_total{command="disconnect",status="accepted"}' in ask(lasting.handlers, "/metrics")[1].decode()


def test_handlers_find_out_by_themselves_that_the_host_sees_their_keys(lasting: Operated):
    until(lambda: lasting.handlers.app.logged("keys_are_shared"), "the check has ended")


def test_a_sidecar_that_is_away_is_not_ready_but_alive(lasting: Operated):
    lasting.host.sidecar.kill()
    try:
        until(lambda: "does not answer" in reasons(lasting.host).get("sidecar", ""), "the sidecar is missed")
        assert ask(lasting.host, "/livez")[0] == 200
        until(lambda: {"lease", "store"} <= reasons(lasting.host).keys(), "lease and store are missed")
        assert "was last renewed" in reasons(lasting.host)["lease"]
    finally:
        lasting.host.sidecar.start()
    until(lambda: is_ready(lasting.host), "ready again")


def test_a_wrong_key_prefix_ends_the_handlers_with_a_clear_error(tmp_path: Path):
    with operated(tmp_path, key_prefix="appid") as stack:
        assert stack.handlers.app.wait_ended(60) == 1
        (line,) = [line for line in stack.handlers.app.tail().splitlines() if line.startswith("error:")]
        assert "keyPrefix" in line
        assert "websocket-host" in line
        assert stack.host.app.is_alive


def test_the_doctor_says_that_no_retry_policy_is_loaded(tmp_path: Path):
    with operated(tmp_path, has_retries=False) as stack:
        asyncio.run(stack.handlers.until_up())
        told = stack.wsm("doctor")
        assert told.code == 1
        assert "✗ retries" in told.stdout
        assert "a file of its own" in told.stdout


def tailing(stack: Operated, folder: Path, *args: str) -> subprocess.Popen[bytes]:
    """`wsm tail` as a process of its own, on the components and brokers of the stack."""
    ours = {"DAPR_HTTP_PORT": str(stack.handlers.sidecar.http_port), "WSM_RESOURCES": stack.resources}
    ours["XDG_STATE_HOME"] = str(folder)
    env = {key: value for key, value in os.environ.items() if not key.startswith(("WSM_", "DAPR_"))}
    with (folder / "tail.ndjson").open("wb") as told, (folder / "tail.err").open("wb") as errors:
        command = [*WSM, "tail", "--json", *args]
        return subprocess.Popen(command, env={**env, **stack.redis.env, **ours}, stdout=told, stderr=errors)


def publish(stack: Operated, topic: str, body: bytes, content_type: str = "application/json") -> None:
    url = f"{stack.handlers.sidecar.url}/publish/pubsub/{topic}"
    DIRECT.open(Request(url, body, {"Content-Type": content_type}), timeout=10).close()


def sidecars_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """Those that it has started; what it runs in order to find one is gone soon."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):
            if "--app-id" in child.cmdline():
                found.append(child)
    return found


def test_tail_takes_no_event_from_others_and_leaves_no_sidecar(lasting: Operated, tmp_path: Path):
    old = {**OLD, "data": {"connectionId": "before"}}  # what a broker has kept is not news
    publish(lasting, "websocket-events", json.dumps(old).encode(), "application/cloudevents+json")
    with tailing(lasting, tmp_path) as tail:
        told = tmp_path / "tail.ndjson"
        try:
            until(lambda: sidecars_of(tail), "the sidecar is started")
            (sidecar,) = sidecars_of(tail)

            def is_heard() -> bool:
                assert tail.poll() is None, (tmp_path / "tail.err").read_text()
                assert lasting.wsm("disconnect", "after").code == 0  # until it has subscribed, nothing comes
                return told.read_bytes().count(b"\n") > 0

            until(is_heard, "an event came")
            events = [json.loads(line) for line in told.read_bytes().splitlines()]
            assert {event["data"]["connectionId"] for event in events} == {"after"}
            assert events[0]["topic"] == "websocket-events"
            assert lasting.wsm("doctor").code == 0, "it has taken nothing from the handlers"
        finally:
            tail.terminate()
            tail.wait(20)
        assert not sidecar.is_running()


def test_tail_ends_after_so_many_events_of_the_topic_that_was_asked_for(lasting: Operated, tmp_path: Path):
    is_over = threading.Event()

    def publish_on() -> None:
        while not is_over.wait(0.2):
            publish(lasting, "orders", b'{"number": 1}')

    publishing = threading.Thread(target=publish_on)
    publishing.start()
    try:
        with_components: dict[str, Any] = {**lasting.redis.env, "WSM_RESOURCES": lasting.resources}
        with_components["XDG_STATE_HOME"] = str(tmp_path)
        port = lasting.handlers.sidecar.http_port
        told = wsm("tail", "orders", "--json", "--count", "1", "--timeout", "60", port=port, **with_components)
    finally:
        is_over.set()
        publishing.join()
    assert told.code == 0, told.stderr
    assert [(event["topic"], event["data"]) for event in told.lines()] == [("orders", {"number": 1})]


def test_tail_without_components_says_what_is_missing(lasting: Operated, tmp_path: Path):
    told = wsm(
        "tail",
        "--resources",
        str(tmp_path / "none"),
        port=lasting.handlers.sidecar.http_port,
        XDG_STATE_HOME=str(tmp_path),
    )
    assert told.code == 1
    assert "the sidecar has ended" in told.stderr


def test_list_tells_when_the_last_frame_came_though_the_handlers_hold_no_socket(lasting: Operated):
    with Background(local_feed(0.2)) as feed:
        made = lasting.wsm("connect", feed.value.url, "--id", "f", "--topic", "t", "--auto-reconnect", "--wait")
        assert made.code == 0, made.stderr

        def last() -> Any:
            return lasting.wsm("show", "f", "--json").json()

        until(lambda: (last()["sequence"] or 0) >= 2 and last()["lastFrameAt"], "its vitals are read")
        first = last()
        until(lambda: last()["lastFrameAt"] > first["lastFrameAt"], "they are renewed")
        (line,) = [line for line in lasting.wsm("list", "--json").lines() if line["id"] == "f"]
        assert line["lastFrameAt"] >= first["lastFrameAt"]
        page = ask(lasting.host, "/metrics")[1].decode()
        assert 'wsm_connections{status="Connected"} 1.0' in page
        lasting.wsm("disconnect", "f")
