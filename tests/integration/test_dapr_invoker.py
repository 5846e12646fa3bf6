"""Prepare calls by service invocation: a real sidecar, and an app that speaks HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from runtime.adapters.dapr.channel import Sidecar as Channel
from runtime.adapters.dapr.invoker import DaprInvoker
from runtime.errors import TransientError
from runtime.failure import FailureKind, classify_status
from tests.processes import free_ports
from tests.sidecar import Sidecar, running_sidecar

pytestmark = pytest.mark.integration
PLANTED = "pl4nted"


@asynccontextmanager
async def tokens_app(folder: Path) -> AsyncIterator[tuple[DaprInvoker, list[str]]]:
    """An app `tokens` whose method says which status it answers with, and what it has heard."""
    heard: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        heard.append(f"{request.method} {request.path} {request.content_type} {await request.text()}")
        what = request.path.rpartition("/")[2]
        if what == "slow":
            await asyncio.sleep(30)
        return web.json_response(
            {"url": "wss://a.example", "why": PLANTED}, status=int(what), headers={"Retry-After": "17"}
        )

    app = web.Application()
    app.router.add_route("*", "/feed/{status}", answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    (port,) = free_ports(1)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    resources = folder / "resources"
    resources.mkdir()
    sidecar = Sidecar("tokens", resources, folder, app_port=port, args=("--app-protocol", "http"))
    try:
        async with running_sidecar(sidecar):
            channel = Channel(f"127.0.0.1:{sidecar.grpc_port}", None)
            try:
                yield DaprInvoker(channel), heard
            finally:
                await channel.close()
    finally:
        await runner.cleanup()


async def test_an_app_is_called_and_each_of_its_statuses_keeps_its_meaning(tmp_path: Path):
    async with tokens_app(tmp_path) as (invoker, heard):
        answer = await invoker.invoke("tokens", "feed/200", b'{"id": "a"}', 10)
        assert answer.status == 200
        assert b"wss://a.example" in answer.body
        assert heard == ['POST /feed/200 application/json {"id": "a"}']
        for status in (302, 400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503):
            answer = await invoker.invoke("tokens", f"feed/{status}", b"{}", 10)
            assert (answer.status, answer.retry_after_s) == (status, 17)
            assert PLANTED not in repr(answer)

        nobody = await invoker.invoke("nobody", "feed/200", b"{}", 10)
        assert classify_status(nobody.status).kind is not FailureKind.REFUSED  # it may be on its way
        with pytest.raises(TransientError, match="does not answer"):
            await invoker.invoke("tokens", "feed/slow", b"{}", 0.5)


async def test_without_a_sidecar_a_call_may_work_later():
    (nobody,) = free_ports(1)
    channel = Channel(f"127.0.0.1:{nobody}", None)
    with pytest.raises(TransientError, match="does not answer"):
        await DaprInvoker(channel).invoke("tokens", "feed", b"{}", 5)
    await channel.close()
