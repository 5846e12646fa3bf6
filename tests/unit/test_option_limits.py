"""What a command may ask for by its options: a process-wide limit for each of those that cost memory or time."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest

from runtime.models.option_limits import OptionLimits, limit_flag, limit_setting
from runtime.models.options import MIB, WebSocketOptions
from runtime.ports import Limits
from runtime.settings import Settings
from tests.unit.world import URL, World
from tests.virtual_time import virtual_time
from tests.wsm import wsm

SMALL = OptionLimits(
    max_handshake_bytes=65_536,
    max_message_bytes=2 * MIB,
    max_fragments=5000,
    queue_max_bytes=32 * MIB,
    connect_timeout_s=15,
    assembly_timeout_s=90,
    options_bytes=8192,
)

BEYOND = [
    ({"maxHandshakeBytes": 65_537}, "maxHandshakeBytes (65537)", "(65536, --max-handshake-bytes-limit)"),
    ({"maxMessageBytes": 2 * MIB + 1}, "maxMessageBytes (2097153)", "(2097152, --max-message-bytes-limit)"),
    ({"maxFragments": 5001}, "maxFragments (5001)", "(5000, --max-fragments-limit)"),
    ({"queueMaxBytes": 32 * MIB + 1}, "queueMaxBytes (33554433)", "(33554432, --queue-max-bytes-limit)"),
    ({"connectTimeoutS": 15.5}, "connectTimeoutS (15.5)", "(15, --connect-timeout-limit-s)"),
    ({"assemblyTimeoutS": 91}, "assemblyTimeoutS (91)", "(90, --assembly-timeout-limit-s)"),
    ({"assemblyTimeoutS": 0}, "assemblyTimeoutS (0)", "(90, --assembly-timeout-limit-s)"),
    ({"openingMessages": ["x" * 9000]}, "the size of all options (", "(8192, --options-bytes-limit)"),
    ({"madeUp": "x" * 9000}, "the size of all options (", "(8192, --options-bytes-limit)"),
]


@pytest.mark.parametrize(("options", "asked", "limit"), BEYOND)
def test_what_asks_for_more_is_rejected_with_both_numbers_and_nothing_is_written(
    options: dict[str, Any], asked: str, limit: str
):
    @virtual_time
    async def run():
        world = World(Limits(options=SMALL))
        outcome = await world.command("connect", id="a", url=URL, options=options)
        assert outcome["status"] == "rejected"
        assert asked in outcome["reason"]
        assert limit in outcome["reason"]
        assert not {"websocket-a", "websocket-index"} & world.store.values.keys()

    run()


@virtual_time
async def test_what_asks_for_just_as_much_is_accepted():
    world = World(Limits(options=SMALL))
    options = {
        "maxHandshakeBytes": 65_536,
        "maxMessageBytes": 2 * MIB,
        "maxFragments": 5000,
        "queueMaxBytes": 32 * MIB,
        "connectTimeoutS": 15,
        "assemblyTimeoutS": 90,
    }
    outcome = await world.command("connect", id="a", url=URL, options=options)
    assert outcome["status"] == "accepted"
    assert (await world.command("connect", id="b", url=URL))["status"] == "accepted"


def test_no_limit_can_be_set_so_low_that_it_refuses_the_default():
    for each in fields(OptionLimits):
        if each.name == "options_bytes":
            continue
        default = getattr(WebSocketOptions(), each.name)
        result = wsm("run", limit_flag(each.name), str(default - 1))
        assert (result.code, result.stdout) == (2, ""), each.name
        assert f"{limit_flag(each.name)}: must be greater than or equal to {default:.15g}" in result.stderr
    smallest: Any = {
        limit_setting(each.name): getattr(WebSocketOptions(), each.name, 4096) for each in fields(OptionLimits)
    }
    limits = Settings(**smallest).limits().options
    assert limits.refusal(WebSocketOptions()) is None
    assert limits == OptionLimits(*[getattr(WebSocketOptions(), each.name, 4096) for each in fields(OptionLimits)])


def test_by_default_every_option_may_be_as_large_as_its_own_bound():
    for each in fields(OptionLimits):
        if each.name != "options_bytes":
            bounds = WebSocketOptions.model_fields[each.name].metadata
            (most,) = [bound.le for bound in bounds if hasattr(bound, "le")]
            assert getattr(OptionLimits(), each.name) == most, each.name


def test_an_assembly_that_may_last_for_ever_is_refused_only_where_that_is_limited():
    endless = WebSocketOptions(assembly_timeout_s=0)
    assert OptionLimits().refusal(endless) is None
    assert replace(OptionLimits(), assembly_timeout_s=86_399).refusal(endless) is not None


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (
            ["--dials-per-host", "10", "--dials-per-host-at-once", "11"],
            "--dials-per-host-at-once (11) is above --dials-per-host (10), and can never be reached",
        ),
        (["--dial-window-s", "0"], "--dial-window-s: must be greater than or equal to 1"),
        (["--counted-tags", "x" * 129], "--counted-tags: a tag has a key of at most 128 characters"),
        (["--max-connections-per-tag", "-1"], "--max-connections-per-tag: must be greater than or equal to 0"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(args: list[str], said: str):
    result = wsm("run", *args)
    assert (result.code, result.stdout) == (2, "")
    assert said in result.stderr


def test_the_settings_become_the_limits_of_the_process():
    settings = Settings(
        dials_per_host=300, dial_window_s=60, dials_per_host_at_once=5, max_connections_per_tag=7, counted_tags="a, b c"
    )
    limits = settings.limits()
    assert (limits.dials.in_window, limits.dials.window_s, limits.dials.at_once) == (300, 60, 5)
    assert (limits.max_connections_per_tag, limits.counted_tags) == (7, ("a", "b", "c"))
