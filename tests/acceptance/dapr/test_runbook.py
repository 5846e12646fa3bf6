"""The runbook leads from each alert to the connection that is at fault: its commands are run where that was planted."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from tests.acceptance.dapr.stack import Stack
from tests.acceptance.dapr.streams import ask
from tests.acceptance.feed import FeedProcess, feeding
from tests.processes import find_program
from tests.sidecar import COMPONENTS, ROOT

pytestmark = pytest.mark.acceptance

RUNBOOK = ROOT / "docs" / "runbook.md"
ALERTS = ROOT / "deploy" / "kubernetes" / "base" / "alerts.yaml"
QUICK = {"reconnectAttempts": 0, "reconnectBaseDelayS": 0.1, "reconnectMaxDelayS": 0.5}
WRONG_EVERY_S, PAUSED_S = 1.5, 1.0
BURST = 60_000  # so many messages that the broker needs seconds for them
NAMES = {
    "": "host-1",
    "WsmLeaseNotRenewed": "planted-away",
    "WsmFramesDropped": "planted-dropping",
    "WsmBlindGaps": "planted-cut",
    "WsmQueuesNearBound": "planted-bursting",
    "WsmNotPublishing": "planted-bursting",
    "WsmNoHost": "planted-away",
    "WsmConnectionsNotLiving": "planted-away",
    "WsmLoopHeld": "planted-away",
    "WsmDeadLetters": "planted-spoilt",
    "WsmEventsWaiting": "planted-away",
}
"""What each section must print: the id of the connection that was planted for it."""


def sections() -> dict[str, str]:
    """The text of each section by its title; what stands before the first has an empty one."""
    first, *rest = re.split(r"^## ", RUNBOOK.read_text(), flags=re.MULTILINE)
    return {"": first} | {title.strip(): text for title, _, text in (part.partition("\n") for part in rest)}


def alerts() -> dict[str, dict[str, Any]]:
    """The alerts by their names."""
    groups = yaml.safe_load(ALERTS.read_text())["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def test_each_alert_has_a_section_under_its_name_that_it_links_to_and_no_section_is_about_none():
    assert set(sections()) - {""} == set(alerts()) == set(NAMES) - {""}
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"].endswith(f"docs/runbook.md#{name.lower()}"), name


class Planted:
    """A stack with a connection for each fault. `environment`: what an operator's shell has."""

    def __init__(self, stack: Stack, feed: FeedProcess, environment: dict[str, str], urls: dict[str, str]) -> None:
        self.stack, self.feed, self.environment, self.urls = stack, feed, environment, urls

    async def cut(self) -> None:
        """Cut all sockets, again and again."""
        while True:
            self.feed.cut()
            await asyncio.sleep(WRONG_EVERY_S)

    async def pause(self) -> None:
        """Let the host's sidecar take nothing for a moment, again and again."""
        try:
            while True:
                self.stack.host.sidecar.pause()
                await asyncio.sleep(PAUSED_S)
                self.stack.host.sidecar.resume()
                await asyncio.sleep(WRONG_EVERY_S)
        finally:
            self.stack.host.sidecar.resume()

    @asynccontextmanager
    async def going_wrong(self, title: str) -> AsyncIterator[None]:
        """What happens again and again while somebody looks for the cause of this alert."""
        faults = {"WsmFramesDropped": self.pause, "WsmBlindGaps": self.cut}
        task = asyncio.create_task(faults[title]()) if title in faults else None
        try:
            yield
        finally:
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def run(self, block: str, id_: str) -> tuple[int, str]:
        """Run a block as it is; its exit code, and all that it printed."""
        variables = {"ID": id_, "URL": self.urls.get(id_, "")}
        process = await asyncio.create_subprocess_exec(
            *("bash", "-euo", "pipefail", "-c", block),
            env=self.environment | variables,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), 120)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode or 0, said.decode()

    async def burst(self) -> None:
        """Let the peer send much more than the broker takes at once, again, and wait until that can be seen."""
        await self.stack.outsider.invoke("reconnect", id="planted-bursting")
        await self.stack.until_status("Connected", "planted-bursting")
        await self.stack.outsider.invoke("send", id="planted-bursting", message="go")
        async with asyncio.timeout(60):
            while not (await self.stack.outsider.invoke("connection", id="planted-bursting"))["queuedBytes"]:
                await asyncio.sleep(0.2)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def planted(lasting_stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Planted]:
    stack, folder = lasting_stack, tmp_path_factory.mktemp("runbook")
    await stack.heal()
    find_program("curl", "apt-get install curl")
    async with feeding(folder) as feed:
        urls = {
            "planted-away": feed.url("numbers/0/planted-away", later=True),
            "planted-dropping": feed.url("numbers/1/planted-dropping"),
            "planted-cut": feed.url("numbers/2/planted-cut"),
            "planted-bursting": feed.url(f"burst/{BURST}/planted-bursting"),
        }
        bound = {"planted-dropping": {"queueMaxMessages": 1, "overflow": "drop_oldest"}}
        for id_, url in urls.items():
            options = QUICK | bound.get(id_, {})
            await stack.outsider.invoke(
                "connect", id=id_, url=url, topic=f"runbook-{id_}", autoReconnect=True, options=options
            )
        await stack.until_status("Connected", "planted-dropping", "planted-cut", "planted-bursting")
        await stack.outsider.command(command="send", id="planted-spoilt", message=7)
        try:
            yield Planted(stack, feed, _environment(stack, folder), urls)
        finally:
            for id_ in urls:
                await stack.outsider.invoke("disconnect", id=id_)
            ask(stack.redis.port, "DEL", *(f"runbook-{id_}" for id_ in urls))


def _environment(stack: Stack, folder: Path) -> dict[str, str]:
    """What the page asks an operator to set, and where `wsm` is."""
    ours = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "HOME": str(folder),
        "XDG_STATE_HOME": str(folder),
        "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache"),
        "DAPR_HTTP_PORT": str(stack.handlers.sidecar.http_port),
        "WSM_RESOURCES": str(COMPONENTS / "local"),
        "WSM_ALLOW_PRIVATE": "true",  # as the hosts have it
        "SECRETS_FILE": str(stack.folder / "secrets.json"),
        "OPS": stack.host.app.logged("started")[-1]["ops"],
    }
    return {**stack.redis.env, **stack.mosquitto.env, **ours}


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("title", NAMES)
async def test_the_commands_of_a_section_name_the_connection_that_is_at_fault(planted: Planted, title: str):
    id_ = NAMES[title]
    (block,) = re.findall(r"^```sh\n(.*?)^```$", sections()[title], flags=re.MULTILINE | re.DOTALL)
    if id_ == "planted-bursting":
        await planted.burst()
    finding, show, rest = block.partition('wsm show "$ID"')  # which would print any id
    async with planted.going_wrong(title):
        code, found = await planted.run(finding, id_)
        assert code == 0, found
        assert id_ in found, found
        code, shown = await planted.run(show + rest, id_)
        assert code == 0, shown
    if id_ == "planted-away":
        assert "cannot be reached" in found + shown or title == "WsmNoHost", found + shown
