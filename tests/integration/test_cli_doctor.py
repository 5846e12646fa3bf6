"""`wsm doctor` against an embedded manager."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import wait_until
from tests.wsm import Background, World, free_port, http, publish, raw_server, world, wsm

pytestmark = pytest.mark.integration


@pytest.fixture
def managed(tmp_path: Path) -> Iterator[Background[World]]:
    with Background(world(tmp_path)) as managed:
        yield managed


def test_all_is_well(managed: Background[World], tmp_path: Path):
    told = wsm("doctor", port=managed.value.port)
    assert (told.code, told.stderr) == (0, "")
    lines = told.stdout.splitlines()
    assert all(line.startswith("✓ ") for line in lines)
    assert [line[2:14].strip() for line in lines] == ["endpoint", "version", "data folder", "sink", "dead letters"]
    assert str(tmp_path) in lines[2]
    assert "none waits" in lines[4]


def test_json_is_one_document_a_line(managed: Background[World]):
    lines = wsm("doctor", "--json", port=managed.value.port).lines()
    assert [line["check"] for line in lines][:2] == ["endpoint", "version"]
    assert all(line["ok"] is True and line["todo"] is None for line in lines)


def test_a_lock_that_is_gone_is_a_fault(managed: Background[World], tmp_path: Path):
    (tmp_path / "lock").unlink()
    told = wsm("doctor", port=managed.value.port)
    assert told.code == 1
    (line,) = [line for line in told.stdout.splitlines() if line.startswith("✗")]
    assert "cannot be looked at" in line
    assert "start it again" in line


def test_dead_letters_are_counted(managed: Background[World]):
    publish(managed.value.port, "websocket-commands", command="nonsense")
    wait_until(lambda: wsm("dead-letters", "--json", port=managed.value.port).lines(), "there is one")
    told = wsm("doctor", port=managed.value.port)
    assert told.code == 0
    assert "1 wait" in told.stdout


@pytest.mark.parametrize("listens", [True, False])
def test_the_sink_is_looked_for(tmp_path: Path, listens: bool):
    with socket.create_server(("127.0.0.1", 0)) as sink:
        port = sink.getsockname()[1]
        if not listens:
            sink.close()
        with Background(world(tmp_path, sink=f"http://127.0.0.1:{port}/?token=secret")) as managed:
            told = wsm("doctor", port=managed.value.port)
    assert told.code == (0 if listens else 1)
    assert f"127.0.0.1:{port}" in told.stdout
    assert "secret" not in told.stdout
    if not listens:
        assert "cannot be reached" in told.stdout


def test_nothing_at_the_port_ends_with_3():
    told = wsm("doctor", port=free_port())
    assert told.code == 3
    assert "nothing answers" in told.stderr


def test_a_stranger_at_the_port_is_told():
    with Background(raw_server(http(b"hello"))) as stranger:
        told = wsm("doctor", port=stranger.value)
    assert told.code == 1
    assert "no manager or sidecar" in told.stdout


def test_a_manager_that_goes_in_the_middle_is_told(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("runtime.cli.sidecar_examination.APPS_PATIENCE_S", 0)
    metadata = http(b'{"runtimeVersion": "1.18.2", "id": "websocket-handlers"}')
    with Background(raw_server(metadata)) as sidecar:  # it says the same to every call
        told = wsm("doctor", port=sidecar.value)
    assert told.code == 1
    assert "✗ sidecar" in told.stdout
