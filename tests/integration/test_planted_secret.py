"""A secret is sent to where it belongs and is found nowhere else, whatever goes wrong on the way."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import pytest

from runtime.adapters.clock import SystemClock
from runtime.adapters.log import Log
from runtime.adapters.ops import Ops
from runtime.dapr import start_dapr
from runtime.embedded import start_embedded
from runtime.settings import Settings
from tests.contract.sidecars import write_component
from tests.peers import listening, until
from tests.planted import (
    BROKEN,
    FRESH,
    SECRET,
    FreshParrot,
    Parrot,
    PrepareServer,
    connections,
    files_in,
    forms,
    search,
)
from tests.processes import free_ports
from tests.running import Collected
from tests.sidecar import COMPONENTS, Sidecar, running_sidecar
from tests.wsm import wsm

pytestmark = pytest.mark.integration
VALUES = {"token": SECRET, "broken": BROKEN, "not-for-us": SECRET}
REASONS = {
    "missing": "the secret STORE/absent is not there, or not for us to read",
    "forbidden": "the secret STORE/not-for-us may not be sent to 127.0.0.1",
    "broken": "a header cannot be sent",
    "proxied": "the proxy cannot be reached",
    "no-pem": "tls.ca cannot be used",
}
COMMANDS = [
    *(["list"], ["list", "--json"], ["export"], ["export", "--json"], ["instances"], ["instances", "--json"]),
    *(["doctor", "--json"], ["dead-letters"], ["dead-letters", "--json"]),
    *(["show", id_, *flag] for id_ in ("everywhere", "prepared", *REASONS) for flag in ([], ["--json"])),
    *(
        [
            "connect",
            "ws://127.0.0.1:1/${nothing}",
            "--options",
            json.dumps({"secrets": {"a": {"secret": "file/token"}}}),
        ],
    ),
]


def _has_failed(reason: str) -> Callable[[Any], bool]:
    return lambda view: reason in (view["lastError"] or "")


class Stage:
    """The peers of the scenario, and what a manager has to show in the end."""

    def __init__(self) -> None:
        self.parrot, self.other, self.prepare = Parrot(), FreshParrot(), PrepareServer()
        self.shown: dict[str, bytes] = {}

    async def play(self, store: str, command: Callable[..., Awaitable[Any]]) -> None:
        """Make all connections, and wait until each has come to its end."""
        async with (
            listening(self.parrot.talk) as parrot,
            listening(self.other.talk) as other,
            listening(self.prepare.talk) as prepare,
        ):
            url = f"http://127.0.0.1:{prepare.port}/"
            for body in connections(parrot.url, other.url, url, store):
                outcome = await command("connect", **body)
                assert outcome["status"] == "accepted", outcome
            await self._until(command, "everywhere", lambda view: view["status"] == "Connected")
            await self._until(command, "prepared", lambda view: len(self.other.heard) == 2)
            for id_, reason in REASONS.items():
                await self._until(command, id_, _has_failed(reason.replace("STORE", store)))
            await self._until(command, "everywhere", lambda view: (view["sequence"] or 0) >= 1)

    async def _until(self, command: Any, id_: str, holds: Callable[[Any], bool]) -> None:
        view: Any = None
        try:
            async with asyncio.timeout(60):
                while True:
                    view = await command("connection", id=id_)
                    self.shown[f"view {id_}"] = self.shown.get(f"view {id_}", b"") + json.dumps(view).encode()
                    if holds(view):
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"{id_} is {view}")

    def check_that_it_was_sent(self) -> None:
        """A search that finds nothing tells little of a secret that went nowhere."""
        first = self.parrot.heard[0]
        encoded = quote(SECRET, safe="")
        assert f"GET /{encoded}?token={encoded} HTTP/1.1" in first
        assert f"Authorization: Bearer {SECRET}\r\n" in first
        assert f"X-Key: {SECRET}\r\n" in first
        assert {"login": SECRET} in [json.loads(text) for text in self.parrot.heard if text.startswith("{")]
        assert f"X-Fresh: {FRESH}\r\n" in self.other.heard[0]
        assert f"POST /?key={encoded} HTTP/1.1" in self.prepare.heard[0]
        assert f"X-Key: {SECRET}\r\n" in self.prepare.heard[0]

    def show(self, name: str, content: str | bytes) -> None:
        self.shown[name] = content.encode() if isinstance(content, str) else content

    async def ask_everything(self, port: int, ops: Ops) -> None:
        """What the command line and the operator's answers tell."""
        for args in COMMANDS:
            result = await asyncio.to_thread(wsm, *args, port=port)
            self.show(f"wsm {' '.join(args)}", f"{result.stdout}\n{result.stderr}")
        async with aiohttp.ClientSession(trust_env=False) as session:
            for path in ("metrics", "readyz", "livez"):
                async with session.get(f"http://127.0.0.1:{ops.port}/{path}") as answer:
                    self.show(path, await answer.read())
        self.show("tasks", "\n".join(repr(task) for task in asyncio.all_tasks()))


async def started_ops() -> Ops:
    ops = Ops(SystemClock(), {"version": "0", "profile": "embedded", "mode": "all"}, host="127.0.0.1", port=0)
    await ops.start()
    return ops


def test_the_search_finds_a_secret_in_each_of_its_forms():
    for index, form in enumerate(sorted(forms(SECRET))):
        assert search({"place": b"before " + form + b" after"}, [SECRET]), index
    import base64

    assert search({"place": base64.b64encode(f"user:{SECRET}!".encode())}, [SECRET])
    assert search({"place": json.dumps({"a": json.dumps({"b": SECRET})}).encode()}, [SECRET])
    assert not search({"place": b"nothing"}, [SECRET])


async def test_a_secret_is_found_nowhere_in_the_embedded_profile(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    (tmp_path / "secrets.json").write_text(json.dumps(VALUES))
    settings = Settings(
        data=tmp_path / "data",
        port=0,
        allow_private=True,
        instance_id="me",
        secrets_file=tmp_path / "secrets.json",
        secrets="file/token file/broken file/absent file/not-for-us@elsewhere.example",
    )
    stage, log, sink, ops = Stage(), io.StringIO(), Collected(), await started_ops()
    try:
        async with start_embedded(settings, Log("json", log), sink, ops) as embedded:

            async def command(name: str, **fields: Any) -> Any:
                return json.loads(await embedded.dispatch.invoke(name, json.dumps(fields).encode()))

            await stage.play("file", command)
            await stage.ask_everything(embedded.endpoint.port, ops)
    finally:
        await ops.stop()
    stage.check_that_it_was_sent()
    stage.show("log", log.getvalue())
    stage.show("caplog", caplog.text)
    stage.show("events", b"\n".join(sink.documents))
    stage.shown |= files_in(tmp_path / "data")
    assert b'"hello"' in stage.shown["events"], "the frames are among the events"
    assert b"file/token" in stage.shown["wsm show everywhere --json"], "references are shown"
    assert b"*** ${token}" in stage.shown["wsm show everywhere --json"]
    assert b"bad token ***" in stage.shown["view everywhere"] + stage.shown["events"]
    assert search(stage.shown) == []


async def test_a_secret_is_found_nowhere_on_a_real_sidecar(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    resources, folder = tmp_path / "resources", tmp_path / "sidecar"
    resources.mkdir()
    folder.mkdir()
    for path in (COMPONENTS / "memory").iterdir():
        (resources / path.name).write_bytes(path.read_bytes())
    (tmp_path / "secrets.json").write_text(json.dumps(VALUES))
    write_component(
        resources, "vault", "secretstores.local.file", secretsFile=str(tmp_path / "secrets.json"), nestedSeparator=":"
    )
    (app_port,) = free_ports(1)
    sidecar = Sidecar("websocket-handlers", resources, folder, app_port=app_port)
    stage, log, ops = Stage(), io.StringIO(), await started_ops()
    try:
        async with running_sidecar(sidecar):
            settings = Settings(
                profile="dapr",
                mode="all",
                app_port=app_port,
                dapr_grpc_port=sidecar.grpc_port,
                allow_private=True,
                instance_id="me",
                secrets="vault/token vault/broken vault/absent vault/not-for-us@elsewhere.example",
            )
            async with start_dapr(settings, Log("json", log), ops), aiohttp.ClientSession(trust_env=False) as session:
                await until(lambda: sidecar.is_healthy, "the sidecar has found the app", patience_s=60)

                async def command(name: str, **fields: Any) -> Any:
                    url = f"{sidecar.url}/invoke/{sidecar.app_id}/method/{name}"
                    async with session.post(url, json=fields) as answer:
                        assert answer.status == 200, await answer.text()
                        return json.loads(await answer.read())

                await stage.play("vault", command)
                await stage.ask_everything(sidecar.http_port, ops)
                for id_ in ("everywhere", "prepared", *REASONS):
                    async with session.get(f"{sidecar.url}/state/statestore/websocket-{id_}") as answer:
                        stage.show(f"record {id_}", await answer.read())
    finally:
        await ops.stop()
    stage.check_that_it_was_sent()
    stage.show("log", log.getvalue())
    stage.show("caplog", caplog.text)
    stage.shown |= files_in(folder)
    assert b"vault/token" in stage.shown["record everywhere"], "references are stored"
    assert search(stage.shown) == []
