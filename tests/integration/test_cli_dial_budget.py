"""The dial budget as a person meets it: settings of the process, `wsm show`, the status event, a rejection."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.processes import wait_until
from tests.wsm import Background, connect, world, wsm

pytestmark = pytest.mark.integration


def test_show_says_what_a_dial_waits_for_and_until_when(tmp_path: Path):
    with Background(world(tmp_path, dials_per_host=1, dial_window_s=3600)) as running:
        here = running.value
        connect(here, "a")
        made = wsm("connect", here.feed.url, "--id", "b", "--auto-reconnect", port=here.port)
        assert made.code == 0, made.stderr
        wait_until(lambda: wsm("show", "b", "--json", port=here.port).json()["waitsFor"], "its dial waits")
        shown = wsm("show", "b", port=here.port)
        told = {line.split()[0]: line for line in shown.stdout.splitlines()}
        where = here.feed.url.partition("//")[2].partition("/")[0]
        assert told["waitsFor"].endswith(f"dials to {where}, of which there may be 1 in 3600 s, of all hosts together")
        view = wsm("show", "b", "--json", port=here.port).json()
        assert view["status"] == "Connecting"
        assert view["waitsUntil"] > view["updatedAt"]
        assert "waitsFor" not in wsm("show", "a", port=here.port).stdout


def test_a_command_that_asks_for_too_much_is_rejected_with_both_numbers(tmp_path: Path):
    with Background(world(tmp_path, max_message_bytes_limit=2_000_000, max_connections_per_tag=1)) as running:
        here = running.value
        refused = wsm(
            "connect", here.feed.url, "--id", "a", "--options", '{"maxMessageBytes": 3000000}', port=here.port
        )
        assert refused.code == 1
        assert "maxMessageBytes (3000000) is above what is set here (2000000, --max-message-bytes-limit)" in (
            refused.stderr
        )
        connect(here, "b", "--tag", "tenant=x")
        refused = wsm("connect", here.feed.url, "--id", "c", "--tag", "tenant=x", port=here.port)
        assert refused.code == 1
        assert "1 connections have the tag tenant=x, and no more than 1 may" in refused.stderr
