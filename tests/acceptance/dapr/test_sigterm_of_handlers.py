"""SIGTERM to handlers and their sidecar, in each order, while commands come: all of them are answered."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.acceptance.dapr.stack import HANDLERS, Outsider, Pair, eventually, make_pair, running_outsider
from tests.acceptance.dapr.test_sigterm_order import GRACE_S, ORDERS
from tests.brokers import running_mosquitto, running_redis
from tests.sidecar import COMPONENTS

pytestmark = [pytest.mark.acceptance, pytest.mark.asyncio(loop_scope="session")]

EVERY_S, AFTER = 0.02, 50
# The component set waits for two minutes before a message that somebody has had for so long is given out again.
SHORTER = {'"120000"': '"6000"', '"15000"': '"1000"'}


@dataclass
class Commanded:
    """Handlers, and a third app that gives commands and hears of their ends."""

    handlers: Pair
    outsider: Outsider


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def commanded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Commanded]:
    folder = tmp_path_factory.mktemp("commanded")
    resources = folder / "components"
    shutil.copytree(COMPONENTS / "local", resources)
    _shorten(resources / "pubsub.yaml")
    secrets = folder / "secrets.json"
    secrets.write_text("{}")
    with running_redis(folder) as redis, running_mosquitto(folder) as mosquitto:
        env = {**redis.env, **mosquitto.env, "SECRETS_FILE": str(secrets)}
        handlers = make_pair("handlers", HANDLERS, folder, resources, env)
        try:
            handlers.spawn()
            async with running_outsider(folder, resources, env) as outsider:
                await handlers.until_up()
                yield Commanded(handlers, outsider)
        finally:
            handlers.kill()


def _shorten(path: Path) -> None:
    text = path.read_text()
    for before, after in SHORTER.items():
        assert text.count(before) == 1
        text = text.replace(before, after)
    path.write_text(text)


@pytest.mark.parametrize("name", [name for name, order in ORDERS.items() if not order.sidecar_args])
async def test_whatever_gets_sigterm_first_each_command_that_was_taken_ends_in_an_outcome(
    commanded: Commanded, name: str
):
    handlers, outsider = commanded.handlers, commanded.outsider
    given: list[str] = []

    async def give() -> None:
        while True:
            command_id = f"{name}-{len(given)}-{uuid4()}"
            await outsider.command(command="disconnect", id=f"nobody-{len(given)}", commandId=command_id)
            given.append(command_id)
            await asyncio.sleep(EVERY_S)

    giving = asyncio.create_task(give())
    try:
        await eventually(lambda: len(given) >= AFTER, "commands are given")
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        await asyncio.to_thread(ORDERS[name].end, handlers)
        assert loop.time() - asked_at < GRACE_S
        assert handlers.app.exit_code == 0
        before = len(given)
        await eventually(lambda: len(given) >= before + AFTER, "commands are given while nobody handles them")
        handlers.spawn()
        await handlers.until_up()
        before = len(given)
        await eventually(lambda: len(given) >= before + AFTER, "commands are given again")
    finally:
        giving.cancel()
        await asyncio.wait([giving])

    def unanswered() -> set[str]:
        return set(given) - {outcome["commandId"] for outcome in outsider.told("outcome")}

    await eventually(lambda: not unanswered(), "each command has an outcome")
    assert {outcome["status"] for outcome in outsider.told("outcome")} == {"accepted"}
