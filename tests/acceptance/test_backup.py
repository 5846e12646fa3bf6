"""`wsm export` from one installation, which is then lost, and `wsm apply` to an empty one: the same live again."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.acceptance.manager import ManagerProcess, environment, managing
from tests.peers import TEXT, Peer, Talk, frame, listening

pytestmark = pytest.mark.acceptance

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
LIVE, OLD_TOKEN, NEW_TOKEN = 20, "t0ken-of-the-lost-one", "t0ken-of-the-new-one"


async def test_what_was_exported_lives_again_on_an_empty_installation_with_its_own_secrets(tmp_path: Path):
    backup, heard = tmp_path / "connections.yaml", list[str]()

    async def greet(talk: Talk) -> None:
        heard.append(await talk.accept())
        await talk.write(frame(TEXT, b"hello"))
        await talk.until_closed()

    async with listening(greet) as peer:
        bodies = _connects(peer)
        lost = tmp_path / "lost"
        async with managing(lost, *_secrets(lost, OLD_TOKEN)) as manager:
            await manager.accept("connect", *bodies)
            await manager.until(lambda: _ids(manager, "frame") == {body["id"] for body in bodies}, patience_s=20)
            await manager.accept("disconnect", {"id": "kept", "keep": True})
            await _sh(manager, tmp_path, _documented("wsm export"))
        shutil.rmtree(lost)
        text = backup.read_text()
        assert OLD_TOKEN not in text
        assert len(yaml.safe_load(text)["connections"]) == len(bodies)
        assert {request.count(f"Bearer {OLD_TOKEN}\r\n") for request in heard} == {1}
        heard.clear()

        fresh = tmp_path / "fresh"
        async with managing(fresh, *_secrets(fresh, NEW_TOKEN)) as manager:
            assert (await _sh(manager, tmp_path, _documented("wsm apply"))).count("created ") == len(bodies)
            await manager.until(lambda: _ids(manager, "frame") >= {f"c{n}" for n in range(LIVE)}, patience_s=20)
            await _until_disconnected(manager, "kept")
            views = {view["id"]: view for view in await manager.ask("connections", full=True)}
            for body in bodies:
                assert _without_options(views[body["id"]], body) == _without_options(body, body)
            assert await _sh(manager, tmp_path, "wsm export") == text
            again = await _sh(manager, tmp_path, "wsm apply connections.yaml --prune")
            assert again.count("unchanged ") == len(bodies)
        assert {request.count(f"Bearer {NEW_TOKEN}\r\n") for request in heard} == {1}


def _connects(peer: Peer) -> list[dict[str, Any]]:
    options = {"secrets": {"token": {"secret": "file/feed-token"}}, "headers": {"Authorization": "Bearer ${token}"}}
    common: dict[str, Any] = {"topic": "prices", "autoReconnect": True, "options": options}
    live = [{"id": f"c{n}", "url": f"{peer.url}{n}", "tags": {"n": str(n)}, **common} for n in range(LIVE)]
    return [*live, {"id": "kept", "url": peer.url, **common}]


def _without_options(view: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    """What a view says of the fields of a command; options are compared by the export."""
    return {key: view[key] for key in body if key != "options"}


def _secrets(folder: Path, token: str) -> list[str]:
    """Options of a manager whose store `file` holds this token; the folder is made."""
    folder.mkdir()
    path = folder / "secrets.json"
    path.write_text(json.dumps({"feed-token": token}))
    return ["--secrets", "file/feed-token", "--secrets-file", str(path)]


def _ids(manager: ManagerProcess, kind: str) -> set[str]:
    """Of whom events of a kind have come."""
    return {data["websocketId"] for data in manager.data(kind)}


async def _until_disconnected(manager: ManagerProcess, id_: str) -> None:
    async with asyncio.timeout(20):
        while (await manager.ask("connection", id=id_))["status"] != "Disconnected":
            await asyncio.sleep(0.05)


def _documented(beginning: str) -> str:
    """The command of the page on operations that begins so."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    (found,) = [block for block in blocks if block.startswith(beginning)]
    return str(found)


async def _sh(manager: ManagerProcess, folder: Path, script: str) -> str:
    """What a script prints, run in a shell as an operator does."""
    env = environment() | {"DAPR_HTTP_PORT": str(manager.port)}
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env["PATH"]])
    ended = await asyncio.to_thread(
        subprocess.run, ["bash", "-euc", script], cwd=folder, env=env, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
