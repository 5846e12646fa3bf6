"""`wsm doctor` with a sidecar that answers as it is told, in virtual time: a finding and what to do for each fault."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import pytest

from runtime.cli.client import Client
from runtime.cli.examination import Finding, examine
from runtime.ports import Names
from runtime.settings import EndpointSettings
from tests.virtual_time import virtual_time

OURS = version("websocket-manager")
HANDLERS, HOST = "websocket-handlers", "websocket-host"
WELL = {"isSubscribed": True, "cronAgeS": 3.5}


class FakeClient(Client):
    """A sidecar with two apps. A test changes what they say before it looks."""

    def __init__(self) -> None:
        super().__init__(EndpointSettings(_env_file=None))
        self.metadata: dict[str, Any] = {
            "id": HANDLERS,
            "runtimeVersion": "1.18.2",
            "components": [
                {"name": "pubsub", "type": "pubsub.redis"},
                {"name": "statestore", "type": "state.redis"},
                {"name": "websocket-commands", "type": "bindings.mqtt3"},
                {"name": "secretstore", "type": "secretstores.local.file"},
            ],
            "subscriptions": [
                {"topic": "websocket-dead-letters"},
                {"topic": "websocket-commands", "deadLetterTopic": "websocket-dead-letters"},
            ],
            "resiliencies": [{"name": "websocket-manager"}],
        }
        about = {"version": OURS, "sdk": "1.19.0", "mode": "handlers", "names": asdict(Names())}
        self.answers: dict[tuple[str, str], Any] = {
            (HANDLERS, "about"): about,
            (HOST, "about"): {**about, "mode": "host"},
            (HANDLERS, "probeStore"): {"problems": [], "warnings": ["it forgets"]},
            (HANDLERS, "deadLetters"): [],
            (HOST, "seesKey"): {"sees": True},
        }
        self.health = self.save = self.publish = 204
        self.arrives_after = 3
        self.hosts: list[dict[str, Any]] = [{"id": "host-1", "beat": 1, "notes": WELL}]
        self.is_beating: Callable[[str], bool] = lambda _id: True
        self.deleted: list[str] = []

    async def ask(
        self, verb: str, path: str, data: bytes | None = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        status, body = self._answer(verb, path)
        return status, body if isinstance(body, bytes) else json.dumps(body).encode()

    def _answer(self, verb: str, path: str) -> tuple[int, Any]:
        refused = {"message": "it is refused"}
        match path.removeprefix("/v1.0/").split("/"):
            case ["metadata"]:
                return 200, self.metadata
            case ["healthz"]:
                return self.health, b""
            case ["publish", "pubsub", "websocket-commands"]:
                return self.publish, refused
            case ["state", "statestore"]:
                return self.save, b"not JSON"
            case ["state", "statestore", key]:
                if verb == "DELETE":
                    self.deleted.append(key)
                self.arrives_after -= 1
                return (200 if self.arrives_after <= 0 else 204), b""
            case ["invoke", app_id, "method", "instances"]:
                assert app_id == HANDLERS
                for host in self.hosts:
                    host["beat"] += self.is_beating(host["id"])
                return 200, copy.deepcopy(self.hosts)
            case ["invoke", app_id, "method", method]:
                found = self.answers.get((app_id, method))
                return (200, found) if found is not None else (500, refused)
            case _:
                raise AssertionError(path)


async def look(client: FakeClient) -> dict[str, Finding]:
    """The findings by what was looked at."""
    return {finding.check: finding async for finding in examine(client)}


async def only_fault(client: FakeClient) -> Finding:
    """The one finding that is not well, which says what to do."""
    (fault,) = [finding for finding in (await look(client)).values() if not finding.is_well]
    assert fault.todo
    return fault


@virtual_time
async def test_all_is_well():
    client = FakeClient()
    found = await look(client)
    assert [finding for finding in found.values() if not finding.is_well or finding.todo] == []
    assert list(found) == [
        *("daprd", "sidecar", "handlers", "version", "pubsub", "state", "bindings", "secrets", "state store", "topic"),
        *("retries", "commands", "dead letters", "host", "keys", "cron", "nudges"),
    ]
    assert "it forgets" in found["state store"].says
    assert len(client.deleted) == 2
    assert all(key.startswith("websocket.probe.") for key in client.deleted)


def change(what: str, how: Callable[[FakeClient], Any], check: str, said: str) -> Any:
    return pytest.param(how, check, said, id=what)


def drop(name: str) -> Callable[[FakeClient], Any]:
    def how(client: FakeClient) -> None:
        client.metadata["components"] = [each for each in client.metadata["components"] if each["name"] != name]

    return how


def notes(**changed: Any) -> Callable[[FakeClient], Any]:
    return lambda client: client.hosts[0].update(notes={**WELL, **changed})


@pytest.mark.parametrize(
    ("how", "check", "said"),
    [
        change("old daprd", lambda c: c.metadata.update(runtimeVersion="1.12.0"), "daprd", "1.12.0"),
        change("foreign sidecar", lambda c: c.metadata.update(id="shop"), "sidecar", "the sidecar of 'shop'"),
        change("app not healthy", lambda c: setattr(c, "health", 500), "sidecar", "HTTP 500"),
        change("no pubsub", drop("pubsub"), "pubsub", "there is no component 'pubsub'"),
        change(
            "wrong kind",
            lambda c: c.metadata["components"][1].update(type="pubsub.redis"),
            "state",
            "'statestore' is pubsub.redis",
        ),
        change(
            "store unfit",
            lambda c: c.answers[HANDLERS, "probeStore"].update(problems=["it overwrites"]),
            "state store",
            "it overwrites",
        ),
        change("store away", lambda c: c.answers.pop((HANDLERS, "probeStore")), "state store", "it is refused"),
        change("topic refused", lambda c: setattr(c, "publish", 500), "topic", "it is refused"),
        change("topic lost", lambda c: setattr(c, "arrives_after", 10**6), "topic", "did not arrive in 10 s"),
        change("no retries", lambda c: c.metadata.pop("resiliencies"), "retries", "no retry policy is loaded"),
        change("not subscribed", lambda c: c.metadata.pop("subscriptions"), "commands", "nobody subscribes"),
        change(
            "no dead letters",
            lambda c: c.metadata["subscriptions"][1].update(deadLetterTopic=""),
            "commands",
            "what fails goes to nowhere",
        ),
        change("letters away", lambda c: c.answers.pop((HANDLERS, "deadLetters")), "dead letters", "it is refused"),
        change("handlers away", lambda c: c.answers.pop((HANDLERS, "about")), "handlers", "does not answer"),
        change("host away", lambda c: c.answers.pop((HOST, "about")), "host", "does not answer"),
        change("host answers nonsense", lambda c: c.answers.update({(HOST, "about"): [1]}), "host", "not answer"),
        change("store takes nothing", lambda c: setattr(c, "save", 500), "keys", "no reason was given"),
        change("other keys", lambda c: c.answers[HOST, "seesKey"].update(sees=False), "keys", "does not see"),
        change("keys unasked", lambda c: c.answers.pop((HOST, "seesKey")), "keys", "does not see"),
        change("no tick", notes(cronAgeS=None), "cron", "no tick yet"),
        change("late tick", notes(cronAgeS=500), "cron", "last tick 500 s"),
        change("no nudges", notes(isSubscribed=False), "nudges", "not subscribed to websocket-host-host-1"),
        change("no host", lambda c: c.hosts.clear(), "hosts", "no host renews"),
        change("dead host", lambda c: setattr(c, "is_beating", lambda _id: False), "hosts", "no host renews"),
    ],
)
def test_a_fault_is_found_and_only_that(how: Callable[[FakeClient], Any], check: str, said: str):
    @virtual_time
    async def run():
        client = FakeClient()
        how(client)
        fault = await only_fault(client)
        assert fault.check == check
        assert said in fault.says

    run()


@virtual_time
async def test_another_version_on_the_other_side_is_told():
    client = FakeClient()
    client.answers[HOST, "about"]["version"] = "9.9"
    fault = await only_fault(client)
    assert (fault.check, fault.says) == ("version", f"the host's app is 9.9, this command {OURS}")


@virtual_time
async def test_a_host_that_is_gone_does_not_count_where_another_lives():
    client = FakeClient()
    client.hosts.append({"id": "host-0", "beat": 7})
    client.is_beating = lambda id_: id_ == "host-1"
    found = await look(client)
    assert all(finding.is_well for finding in found.values())
    assert "host-1" in found["cron"].says


@virtual_time
async def test_a_young_host_gets_the_time_of_its_first_tick():
    client = FakeClient()
    looks = 0

    def tick(_id: str) -> bool:
        nonlocal looks
        looks += 1
        client.hosts[0]["notes"] = WELL if looks > 12 else {"isSubscribed": True, "cronAgeS": None}
        return True

    client.is_beating = tick
    assert (await look(client))["cron"].is_well


@virtual_time
async def test_one_process_with_both_parts_is_asked_once():
    client = FakeClient()
    client.answers[HANDLERS, "about"]["mode"] = "all"
    del client.answers[HOST, "about"]
    found = await look(client)
    assert all(finding.is_well for finding in found.values())
    assert "keys" not in found


@virtual_time
async def test_no_binding_and_no_secret_store_are_no_fault():
    client = FakeClient()
    drop("websocket-commands")(client)
    drop("secretstore")(client)
    found = await look(client)
    assert all(finding.is_well for finding in found.values())
    assert "by topic and by invocation only" in found["bindings"].says
    assert "no secret store" in found["secrets"].says


@virtual_time
async def test_waiting_dead_letters_are_told():
    client = FakeClient()
    client.answers[HANDLERS, "deadLetters"] = [{"id": "1"}, {"id": "2"}]
    assert "2 wait" in (await look(client))["dead letters"].says


@pytest.mark.parametrize(("answer", "todo"), [((401, {}), "DAPR_API_TOKEN"), ((200, b"<html>"), "DAPR_HTTP_PORT")])
def test_what_is_no_sidecar_is_told(answer: tuple[int, Any], todo: str):
    @virtual_time
    async def run():
        client = FakeClient()
        client._answer = lambda verb, path: answer  # type: ignore[method-assign]
        fault = await only_fault(client)
        assert fault.check == "endpoint"
        assert todo in (fault.todo or "")

    run()


@virtual_time
async def test_a_host_that_beats_a_little_later_is_looked_at_too():
    client = FakeClient()
    client.hosts.append({"id": "host-2", "beat": 1, "notes": {**WELL, "isSubscribed": False}})
    looks = 0

    def beats(id_: str) -> bool:
        nonlocal looks
        looks += 1
        return id_ == "host-1" or looks > 8

    client.is_beating = beats
    found = [finding async for finding in examine(client) if not finding.is_well]
    assert [finding.check for finding in found] == ["nudges"]
    assert "host-2" in found[0].says


@virtual_time
async def test_what_has_just_been_started_gets_some_time():
    client = FakeClient()
    real, looks = client._answer, 0

    def young(verb: str, path: str) -> tuple[int, Any]:
        nonlocal looks
        looks += 1
        late = path.endswith(("/about", "/healthz"))
        return (503, b"") if late and looks % 4 else real(verb, path)

    client._answer = young  # type: ignore[method-assign]
    assert all([finding.is_well async for finding in examine(client)])
