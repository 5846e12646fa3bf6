"""The commands of `wsm` that only look, against a real endpoint."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from runtime.cli import tables
from runtime.errors import RaceLostError
from runtime.models.constants import connection_key
from tests.processes import wait_until
from tests.wsm import Background, World, connect, http, raw_server, world, wsm

pytestmark = pytest.mark.integration


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with Background(world(tmp_path)) as running:
        yield running.value


def test_list_shows_a_line_for_each_connection_and_masks_secrets(here: World):
    connect(here, "a", "--topic", "prices")
    connect(here, "b")
    result = wsm("list", port=here.port)
    title, first, second = result.stdout.splitlines()
    assert title.split() == ["ID", "STATUS", "TOPIC", "OWNER", "LAST", "FRAME", "URL", "LAST", "ERROR"]
    assert first.split()[:4] == ["a", "Connected", "prices", "me"]
    assert second.split()[:3] == ["b", "Connected", "me"]
    assert "token=***" in first
    assert "secret" not in result.stdout


def test_nothing_is_cut_short_where_another_program_reads(here: World):
    url = f"ws://127.0.0.1:1/{'x' * 300}"
    assert wsm("connect", url, "--id", "i" * 128, port=here.port).code == 0
    _, line = wsm("list", port=here.port).stdout.splitlines()
    assert "i" * 128 in line
    assert url in line
    assert url in wsm("show", "i" * 128, port=here.port).stdout


def test_a_terminal_folds_and_never_cuts(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    url = f"ws://127.0.0.1:1/{'x' * 100}"
    view = {"id": "a", "url": url, "status": "Reconnecting", "options": {}, "outcomes": []}
    tables.connections_table([view])
    tables.print_connection(view)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert shown.count("x") == 200


def test_list_filters_by_tag_and_status_and_prints_a_json_line_each(here: World):
    connect(here, "a", "--tag", "env=live")
    connect(here, "b")
    assert wsm("disconnect", "b", "--keep", port=here.port).code == 0
    port = here.port
    assert [v["id"] for v in wsm("list", "--json", port=port).lines()] == ["a", "b"]
    assert [v["id"] for v in wsm("list", "--tag", "env=live", "--json", port=port).lines()] == ["a"]
    assert [v["id"] for v in wsm("list", "--status", "connected", "--json", port=port).lines()] == ["a"]
    wrong = wsm("list", "--status", "Foo", port=port)
    assert wrong.code == 1
    assert "must be one of Disconnected, Connecting" in wrong.stderr


def test_a_record_that_cannot_be_read_is_shown_and_not_exported(tmp_path: Path):
    async def spoil(here: World) -> None:
        store, key = here.manager.dispatch.context.records.store, connection_key("a")
        while stored := await store.get(key):
            with suppress(RaceLostError):  # the host may write its last status just now
                return await store.put(key, b"garbage", stored.etag)
        raise AssertionError("there is no record")

    with Background(world(tmp_path)) as running:
        here = running.value
        connect(here, "a")
        assert wsm("disconnect", "a", "--keep", port=here.port).code == 0
        running.do(spoil(here))
        assert "unreadable" in wsm("list", port=here.port).stdout
        exported = wsm("export", "--json", port=here.port)
        assert (exported.code, exported.json()) == (0, {"connections": []})
        assert exported.stderr.startswith("warning: a is left out: ")


def test_show_tells_all_of_one_connection(here: World):
    connect(here, "a", "--tag", "env=live", "--options", '{"pingIntervalS": 7}')
    result = wsm("show", "a", port=here.port)
    assert result.code == 0
    told = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert (told["id"], told["status"].strip(), told["autoReconnect"].strip()) == (
        "a".ljust(len(told["id"])),
        "Connected",
        "yes",
    )
    assert told["tags"].strip() == "env=live"
    assert "pingIntervalS 7" in told["options"]
    assert "connect: accepted (created)" in told["outcome"]
    assert wsm("show", "a", "--json", port=here.port).json()["options"]["pingIntervalS"] == 7


def test_show_of_what_is_not_known_ends_with_1(here: World):
    result = wsm("show", "x", port=here.port)
    assert (result.code, result.stdout) == (1, "")
    assert result.stderr == "error: no connection 'x' is known (HTTP 404)\n"


def test_instances_lists_the_hosts(here: World):
    title, line = wsm("instances", port=here.port).stdout.splitlines()
    assert title.split() == ["ID", "STATE", "CONNECTIONS", "LAST", "BEAT", "VERSION", "STARTED"]
    assert line.split()[:3] == ["me", "running", "0/10000"]
    (host,) = wsm("instances", "--json", port=here.port).lines()
    assert (host["id"], host["state"], host["maxConnections"]) == ("me", "running", 10_000)
    assert 0 <= host["beatAgeS"] < 60


def test_outcome_tells_how_a_command_ended(here: World):
    outcome = wsm("connect", here.feed.url, "--id", "a", "--json", port=here.port).json()
    told = wsm("outcome", "a", outcome["commandId"], port=here.port)
    assert (told.code, told.stdout) == (0, "accepted: created\n")
    assert wsm("outcome", "a", outcome["commandId"], "--json", port=here.port).json() == outcome
    assert wsm("outcome", "a", "unknown", port=here.port).code == 1


def test_tail_prints_events_as_they_come_until_it_has_enough(here: World):
    connect(here, "a", "--topic", "prices")
    plain = wsm("tail", "prices", "--count", "2", "--timeout", "10", port=here.port)
    assert plain.code == 0
    assert [line.split()[1:4] for line in plain.stdout.splitlines()] == [["frame", "prices", "a"]] * 2
    assert '{"n":' in plain.stdout
    lines = wsm("tail", "prices", "--count", "2", "--json", port=here.port).lines()
    assert [line["topic"] for line in lines] == ["prices"] * 2
    assert lines[0]["data"]["websocketId"] == "a"


def test_tail_without_a_topic_shows_all(tmp_path: Path):
    async def cut(here: World) -> None:
        here.feed.cut()

    with Background(world(tmp_path)) as running:
        here = running.value
        connect(here, "a", "--topic", "prices")
        threading.Timer(0.5, lambda: running.do(cut(here))).start()
        result = wsm("tail", "--timeout", "2", port=here.port)
    assert result.code == 0
    assert {"frame", "status"} <= {line.split()[1] for line in result.stdout.splitlines()}


def test_tail_ends_with_4_when_too_few_events_come_in_time(here: World):
    result = wsm("tail", "silence", "--count", "1", "--timeout", "0.3", port=here.port)
    assert (result.code, result.stdout) == (4, "")
    assert result.stderr == "error: 0 of 1 events came within 0.3 s\n"


@pytest.fixture
def _ctrl_c_works() -> Iterator[None]:
    """Whoever starts the tests in the background has SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def _press_ctrl_c() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _once(holds: Callable[[], object], then: Callable[[], None]) -> None:
    """Do something from another thread once something holds; nothing if it never does."""

    def wait() -> None:
        wait_until(holds, "it is time")
        then()

    threading.Thread(target=wait, daemon=True).start()


@pytest.mark.usefixtures("_ctrl_c_works")
def test_ctrl_c_is_the_quiet_end_of_a_tail(here: World):
    _once(lambda: here.manager.endpoint._tail.has_readers, _press_ctrl_c)
    result = wsm("tail", "silence", port=here.port)  # nothing else ends it
    assert (result.code, result.stdout, result.stderr) == (0, "", "")


@pytest.mark.usefixtures("_ctrl_c_works")
def test_ctrl_c_ends_any_other_command_with_130_and_quietly():
    asked = threading.Event()
    with Background(raw_server(None, asked)) as silent:
        _once(asked.is_set, _press_ctrl_c)
        result = wsm("list", port=silent.value)
        assert (result.code, result.stdout, result.stderr) == (130, "", "")


def test_tail_tells_when_the_manager_has_gone(tmp_path: Path):
    with Background(world(tmp_path)) as running:
        _once(lambda: running.value.manager.endpoint._tail.has_readers, running.stop)
        result = wsm("tail", "silence", port=running.value.port)
    assert (result.code, result.stderr) == (1, "error: the manager has ended the stream\n")


@pytest.mark.parametrize(
    ("answer", "code", "shown"),
    [
        (http(b'{"type": "x", "data": "text"}\n\n{"data": {"a": 1}}\n'), 1, ["text", '{"a":1}']),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + b'{"data": 1}\n', 1, ["1"]),
        (http(b"<html>\n"), 3, []),
        (http(b"7\n"), 3, []),
        (http(b'{"errorCode": "x", "message": "not here"}', "404 Not Found"), 1, []),
        (b"", 3, []),
        (b"220 mail.example ESMTP\r\n", 3, []),
    ],
    ids=["foreign events", "cut off", "no JSON", "no events", "no tail", "nothing", "no HTTP"],
)
def test_tail_of_something_else_ends_with_a_reason(answer: bytes, code: int, shown: list[str]):
    with Background(raw_server(answer)) as server:
        result = wsm("tail", port=server.value)
    assert result.code == code
    assert result.stderr.startswith("error: ")
    assert [line.split(None, 1)[-1].strip() for line in result.stdout.splitlines()] == shown


def test_schema_prints_one_model_or_their_names():
    names = wsm("schema").stdout.split()
    assert names[:2] == ["command", "options"]
    assert wsm("schema", "--json").json() == names
    for name in names:
        assert wsm("schema", name).json() == wsm("schema", name, "--json").json()
    wrong = wsm("schema", "foo")
    assert wrong.code == 2
    assert "envelope" in wrong.stderr


@pytest.mark.parametrize("args", [["schema", "record"], ["--help"], ["run", "--help"]])
def test_a_broken_pipe_is_quiet(args: list[str]):
    command = [sys.executable, "-c", "from runtime.cli import main; main()", *args]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
