"""`wsm dead-letters` against a real endpoint."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import wait_until
from tests.wsm import Background, World, connect, publish, world, wsm

pytestmark = pytest.mark.integration


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with Background(world(tmp_path)) as running:
        yield running.value


def bury(port: int, **command: str) -> None:
    """Publish a command that ends as a dead letter, and wait until it is one."""
    before = len(wsm("dead-letters", "--json", port=port).lines())
    publish(port, "websocket-commands", **command)
    wait_until(lambda: len(wsm("dead-letters", "--json", port=port).lines()) > before, "there is a new dead letter")


def test_dead_letters_are_listed_without_what_they_hold(here: World):
    port = here.port
    nothing = wsm("dead-letters", port=port)
    assert (nothing.code, nothing.stdout, nothing.stderr) == (0, "", "")
    bury(port, command="connect", commandId="c1", id="a", url="http://s3cret")
    bury(port, command="reconnect", commandId="c2", id="b")
    title, first, second = wsm("dead-letters", port=port).stdout.splitlines()
    assert title.split()[:3] == ["REFUSED", "AT", "ID"]
    assert first.split()[2:5] == ["c1", "websocket-commands", "a"]
    assert "must start with ws://" in first
    assert "c2" in second
    (view,) = wsm("dead-letters", "c2", "--json", port=port).lines()
    assert (view["id"], view["subject"]) == ("c2", "b")
    assert "s3cret" not in wsm("dead-letters", "--json", port=port).stdout
    missing = wsm("dead-letters", "c2", "c3", port=port)
    assert (missing.code, missing.stderr) == (1, "error: no dead letter 'c3' is there\n")


def test_dead_letters_are_replayed_and_those_refused_again_end_with_1(here: World):
    port = here.port
    bury(port, command="reconnect", commandId="c1", id="a")
    bury(port, command="connect", commandId="c2", id="x", url="http://wrong")
    connect(here, "a")
    replayed = wsm("dead-letters", "c1", "--replay", port=port)
    assert (replayed.code, replayed.stdout, replayed.stderr) == (0, "replayed c1\n", "")
    again = wsm("dead-letters", "c1", "c2", "--replay", port=port)
    assert (again.code, again.stdout) == (1, "")
    refused, missing = again.stderr.splitlines()
    assert refused.startswith("error: c2 is refused again: ")
    assert missing == "error: no dead letter 'c1' is there"
    nothing = wsm("dead-letters", "c1", "--replay", "--json", port=port)
    assert (nothing.code, nothing.json()) == (1, {"replayed": [], "refused": [], "notFound": ["c1"]})
