"""`wsm doctor` with a sidecar: components, both apps, their common keys, the store, topics, cron and nudges."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import orjson

from runtime.cli.calls import CallFailed
from runtime.cli.examination import Finding, json_object, same_version, waiting_letters
from runtime.models.constants import DaprConstants
from runtime.models.events import PROBE
from runtime.ports import DEFAULT_NAMES, Names

if TYPE_CHECKING:
    from runtime.cli.client import Client

SUPPORTED = re.compile(r"1\.(17|18|19)\.")
ROUND_TRIP_S, LOOK_EVERY_S = 10.0, 0.02
APPS_PATIENCE_S, APPS_LOOK_S = 15.0, 0.5
HOSTS_PATIENCE_S, BEAT_S, HOSTS_LOOK_S = 25.0, 7.0, 1.0
CRON_S = 120.0


class SidecarExamination:
    """Asks the sidecar of the handlers, and by it the apps."""

    def __init__(self, client: Client, metadata: dict[str, Any]) -> None:
        self._client, self._metadata = client, metadata
        self._names = DEFAULT_NAMES

    async def findings(self) -> AsyncIterator[Finding]:
        """In the order in which they are made; what an app that does not answer would say is left out."""
        yield self._version_of_sidecar()
        yield await self._sidecar()
        about = await self._about(self._client.app_id)
        if about is None:
            yield _away(self._client.app_id, "handlers")
            return
        self._names = names_of(about)
        yield Finding("handlers", True, f"'{self._client.app_id}' answers; SDK {about.get('sdk')}")
        yield same_version(about, "the handlers' app")
        for finding in self._components():
            yield finding
        yield await self._store()
        yield await self._round_trip()
        self._metadata = await self._look() or self._metadata  # by now the sidecar has asked for the topics
        yield self._retries()
        yield self._dead_letter_topic()
        yield await waiting_letters(self._client)
        host = about if about.get("mode") == "all" else await self._about(self._names.host_app_id)
        if host is None:
            yield _away(self._names.host_app_id, "host")
            return
        yield Finding("host", True, f"'{self._names.host_app_id}' answers")
        if host is not about:
            yield same_version(host, "the host's app")
            yield await self._keys()
        for finding in await self._hosts():
            yield finding

    async def _look(self) -> dict[str, Any]:
        status, text = await self._client.ask("GET", "/v1.0/metadata")
        return json_object(text) if status == 200 else {}

    def _version_of_sidecar(self) -> Finding:
        found = str(self._metadata["runtimeVersion"])
        is_known = SUPPORTED.match(found) is not None
        todo = None if is_known else "this was tried with 1.17 to 1.19: take one of these"
        return Finding("daprd", is_known, found, todo)

    async def _sidecar(self) -> Finding:
        base, app_id = self._client.base, self._metadata.get("id")
        if app_id != self._client.app_id:
            todo = "set DAPR_HTTP_PORT to that of the handlers' sidecar, or WSM_HANDLERS_APP_ID"
            return Finding("sidecar", False, f"{base} is the sidecar of '{app_id}', not '{self._client.app_id}'", todo)
        began = _now()
        while (status := (await self._client.ask("GET", "/v1.0/healthz"))[0]) != 204:
            if _now() - began >= APPS_PATIENCE_S:
                break
            await asyncio.sleep(APPS_LOOK_S)
        if status == 204:
            return Finding("sidecar", True, f"{base} is up, and its app is healthy")
        return Finding(
            "sidecar", False, f"{base} says that it or its app is not healthy (HTTP {status})", "see its log"
        )

    async def _about(self, app_id: str) -> dict[str, Any] | None:
        """What an app says of itself; one that has just been started gets some time."""
        began = _now()
        while (about := await self._invoke(app_id, "about", {})) is None:
            if _now() - began >= APPS_PATIENCE_S:
                break
            await asyncio.sleep(APPS_LOOK_S)
        return about

    def _components(self) -> list[Finding]:
        names, kinds = self._names, {each["name"]: each["type"] for each in self._metadata.get("components", [])}
        secrets = sorted(name for name, kind in kinds.items() if kind.startswith("secretstores."))
        none = "none: commands come by topic and by invocation only"
        return [
            _component(kinds, names.pubsub, "pubsub", "WSM_PUBSUB"),
            _component(kinds, names.statestore, "state", "WSM_STATESTORE"),
            _component(kinds, names.commands_binding, "bindings", None)
            if names.commands_binding in kinds
            else Finding("bindings", True, none),
            Finding("secrets", True, ", ".join(secrets) or "no secret store: none can be referred to"),
        ]

    async def _keys(self) -> Finding:
        """Write a key by the handlers' sidecar, and ask the host's app for it."""
        store, host = self._names.statestore, self._names.host_app_id
        key = DaprConstants.PROBE_PREFIX + uuid4().hex
        status, text = await self._client.ask("POST", f"/v1.0/state/{store}", orjson.dumps([{"key": key, "value": 1}]))
        if status != 204:
            return Finding("keys", False, f"the store took no key: {_message(text)}", "see the log of the sidecar")
        try:
            answer = await self._invoke(host, "seesKey", {"key": key})
        finally:
            await self._client.ask("DELETE", f"/v1.0/state/{store}/{key}")
        if answer is not None and answer.get("sees"):
            return Finding("keys", True, "handlers and host see the same keys")
        todo = f"give the component '{store}' of both the keyPrefix 'name' or 'none'"
        return Finding("keys", False, f"'{host}' does not see what '{self._client.app_id}' writes", todo)

    async def _store(self) -> Finding:
        try:
            facts = await self._client.read_one("probeStore")
        except CallFailed as failed:
            return Finding("state store", False, str(failed), "see the log of the handlers")
        if facts.get("problems"):
            return Finding("state store", False, "; ".join(facts["problems"]), "use another store: see components/")
        return Finding("state store", True, "; ".join(["it can be built upon", *facts.get("warnings", [])]))

    async def _round_trip(self) -> Finding:
        """Publish to the topic of commands what the handlers answer with a key in the store."""
        names, probe = self._names, uuid4().hex
        event = {"specversion": "1.0", "id": probe, "type": PROBE, "source": "wsm", "data": {}}
        path = f"/v1.0/publish/{names.pubsub}/{names.commands_topic}"
        began = _now()
        status, text = await self._client.ask("POST", path, orjson.dumps(event), "application/cloudevents+json")
        if status != 204:
            return Finding("topic", False, f"the event was not taken: {_message(text)}", "see the log of the sidecar")
        where = f"/v1.0/state/{names.statestore}/{DaprConstants.PROBE_PREFIX}{probe}"
        while (await self._client.ask("GET", where))[0] != 200:
            if _now() - began > ROUND_TRIP_S:
                todo = "look whether the sidecar has asked the app for its topics, and in both logs"
                return Finding("topic", False, f"what was published did not arrive in {ROUND_TRIP_S:g} s", todo)
            await asyncio.sleep(LOOK_EVERY_S)
        took_ms = (_now() - began) * 1000
        await self._client.ask("DELETE", where)
        return Finding("topic", True, f"from publisher to handler in {took_ms:.0f} ms")

    def _retries(self) -> Finding:
        found = [each["name"] for each in self._metadata.get("resiliencies", [])]
        if found:
            return Finding("retries", True, f"by {', '.join(found)}")
        todo = "put a Resiliency in a file of its own into the folder of the components"
        return Finding(
            "retries", False, "no retry policy is loaded: some brokers take a failed delivery for done", todo
        )

    def _dead_letter_topic(self) -> Finding:
        topic = self._names.commands_topic
        for each in self._metadata.get("subscriptions", []):
            if each["topic"] == topic:
                where = each.get("deadLetterTopic")
                todo = None if where else "give the subscription a dead-letter topic"
                return Finding("commands", bool(where), f"{topic}; what fails goes to {where or 'nowhere'}", todo)
        return Finding("commands", False, f"nobody subscribes to {topic}", "start the handlers again, then the sidecar")

    async def _hosts(self) -> list[Finding]:
        """Cron and nudges of each host that beats; a young host gets the time of its first tick."""
        first = {host["id"]: host["beat"] for host in await self._running_hosts()}
        began = _now()
        while True:
            hosts = await self._running_hosts()
            live = [host for host in hosts if host["beat"] != first.get(host["id"])]
            findings = [finding for host in live for finding in self._host(host)]
            waited_s = _now() - began
            has_heard_all = len(live) == len(hosts) or waited_s >= BEAT_S
            is_well = bool(live) and all(finding.is_well for finding in findings)
            if (is_well and has_heard_all) or waited_s >= HOSTS_PATIENCE_S:
                break
            await asyncio.sleep(HOSTS_LOOK_S)
        none = Finding("hosts", False, "no host renews its lease", "start one: wsm run --profile dapr --mode host")
        return findings or [none]

    async def _running_hosts(self) -> list[dict[str, Any]]:
        return [host for host in await self._client.read_many("instances") if not host.get("hasEnded")]

    def _host(self, host: dict[str, Any]) -> list[Finding]:
        id_, notes = host["id"], host.get("notes", {})
        age_s, topic = notes.get("cronAgeS"), self._names.owner_topic(id_)
        has_ticked = age_s is not None and age_s <= CRON_S
        says = f"{id_}: {'no tick yet' if age_s is None else f'last tick {age_s:g} s before its last note'}"
        cron = f"load a cron binding '{self._names.sweep_binding}' for '{self._names.host_app_id}'"
        is_subscribed = bool(notes.get("isSubscribed"))
        sub = f"{id_}: {'subscribed to' if is_subscribed else 'not subscribed to'} {topic}"
        again = "start the host, then its sidecar, again: it asks for topics once"
        return [
            Finding("cron", has_ticked, says, None if has_ticked else cron),
            Finding("nudges", is_subscribed, sub, None if is_subscribed else again),
        ]

    async def _invoke(self, app_id: str, method: str, body: dict[str, Any]) -> dict[str, Any] | None:
        """A method of an app; None when it does not answer as it should."""
        status, text = await self._client.ask("POST", f"/v1.0/invoke/{app_id}/method/{method}", orjson.dumps(body))
        return (json_object(text) or None) if status == 200 else None


def names_of(about: dict[str, Any]) -> Names:
    """The names that an app goes by, as far as this version knows them."""
    known = {each.name for each in fields(Names)}
    return Names(**{name: value for name, value in about.get("names", {}).items() if name in known})


def _now() -> float:
    return asyncio.get_running_loop().time()


def _away(app_id: str, mode: str) -> Finding:
    todo = f"start it: wsm run --profile dapr --mode {mode}; then see its log and that of its sidecar"
    return Finding(mode, False, f"the app '{app_id}' does not answer", todo)


def _component(kinds: dict[str, str], name: str, block: str, setting: str | None) -> Finding:
    kind = kinds.get(name)
    if kind is not None and kind.startswith(f"{block}."):
        return Finding(block, True, f"'{name}' is {kind}")
    says = f"'{name}' is {kind}" if kind is not None else f"there is no component '{name}'"
    what = f"load a {block} component of this name for both apps"
    return Finding(block, False, says, what + (f", or set {setting}" if setting else ""))


def _message(text: bytes) -> str:
    """What an answer with an error status says."""
    try:
        return str(orjson.loads(text)["message"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "no reason was given"
