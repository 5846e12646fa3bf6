"""The sidecar that a command starts for itself, played by a script."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from runtime.cli import own_sidecar as module
from runtime.cli.calls import CallFailed
from runtime.cli.own_sidecar import ended_by_signals, own_sidecar

pytestmark = pytest.mark.integration


def program(folder: Path, body: str) -> str:
    path = folder / "daprd"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder without a checkout around it."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


async def start(resources: Path) -> None:
    async with own_sidecar("test", resources, 1, {"t"}):
        raise AssertionError("it cannot have subscribed")


async def test_one_that_ends_is_told_with_what_it_said_last(elsewhere: Path):
    program(elsewhere, "echo 'level=fatal no broker'; echo bye; exit 1")
    with pytest.raises(CallFailed, match="level=fatal no broker"):
        await start(elsewhere)


async def test_one_that_says_nothing_is_told_too(elsewhere: Path):
    program(elsewhere, "exit 1")
    with pytest.raises(CallFailed, match="it said nothing"):
        await start(elsewhere)


async def test_one_that_never_subscribes_is_ended_even_if_it_will_not(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "PATIENCE_S", 1.0)
    monkeypatch.setattr(module, "GRACE_S", 0.3)
    monkeypatch.setenv("DAPR_API_TOKEN", "secret")
    program(elsewhere, f"trap '' TERM; echo $$ > {elsewhere}/pid; while :; do sleep 0.1; done")
    with pytest.raises(CallFailed, match="has not subscribed within 1 s"):
        await start(elsewhere)
    with pytest.raises(ProcessLookupError):
        os.kill(int((elsewhere / "pid").read_text()), 0)


async def test_it_gets_what_make_up_has_left_and_our_variables_win(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    (elsewhere / "here" / ".run").mkdir()
    (elsewhere / "here" / ".run" / "sidecar.json").write_text('{"REDIS_HOST": "left", "MQTT_URL": "left"}')
    monkeypatch.setenv("REDIS_HOST", "ours")
    program(elsewhere, 'echo "level=error $REDIS_HOST $MQTT_URL"; exit 1')
    with pytest.raises(CallFailed, match="level=error ours left"):
        await start(elsewhere)


async def test_it_holds_the_lock_on_its_app_id(elsewhere: Path):
    program(elsewhere, 'echo "level=error $2 $(readlink /proc/$$/fd/* | grep -c "/$2$")"; exit 1')
    with pytest.raises(CallFailed, match=r"level=error wsm-test-\w{8} 1$"):
        await start(elsewhere)


async def test_without_daprd_it_says_how_to_get_one(elsewhere: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(elsewhere / "here"))
    with pytest.raises(CallFailed, match="make sidecar"):
        await start(elsewhere)


async def test_the_script_of_the_checkout_comes_first_and_may_have_none(elsewhere: Path):
    scripts = elsewhere / "deploy" / "sidecar"
    scripts.mkdir(parents=True)
    other = elsewhere / "built"
    other.mkdir()
    built = program(other, "echo 'level=error built'; exit 1")
    script = scripts / "build.sh"
    script.write_text(f"#!/bin/sh\necho {built}\n")
    script.chmod(0o755)
    with pytest.raises(CallFailed, match="level=error built"):
        await start(elsewhere)
    script.write_text("#!/bin/sh\nexit 1\n")
    program(elsewhere, "echo 'level=error on PATH'; exit 1")
    with pytest.raises(CallFailed, match="level=error on PATH"):
        await start(elsewhere)


async def test_without_components_it_asks_for_them(elsewhere: Path):
    program(elsewhere, "echo 'level=error started'; exit 1")
    with pytest.raises(CallFailed, match="--resources"):
        async with own_sidecar("test", None, 1, {"t"}):
            pass
    (elsewhere / "here" / "components" / "local").mkdir(parents=True)
    with pytest.raises(CallFailed, match="level=error started"):
        async with own_sidecar("test", None, 1, {"t"}):
            pass


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_ends_the_block_in_order(number: signal.Signals):
    is_over = False

    async def block() -> None:
        nonlocal is_over
        async with ended_by_signals():
            try:
                await asyncio.Event().wait()
            finally:
                is_over = True

    task = asyncio.create_task(block())
    await asyncio.sleep(0)
    os.kill(os.getpid(), number)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert is_over
