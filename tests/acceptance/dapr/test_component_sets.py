"""Each broker with PostgreSQL as the store, as its set says: a host is killed, and each missing number is announced."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.acceptance.dapr.component_sets import BEAT_S, HOSTS, LEASE_S, deployed
from tests.acceptance.feed import slot_of

pytestmark = pytest.mark.acceptance

# A lease says up to when all was published, and is written at every beat, on a busy machine up to 3 s later.
LAST_WORD_S = 2 * BEAT_S + 3
BUSY_S = 12  # what claims, dials and a machine with two cores may add to a lease


@pytest.mark.parametrize("name", ["postgres", "rabbitmq", "jetstream", "kafka"])
async def test_of_three_hosts_one_is_killed_and_every_missing_number_lies_in_an_announced_gap(
    name: str, tmp_path: Path
):
    async with deployed(name, tmp_path) as deployment:
        await deployment.connect()
        owners = await deployment.until_held_by(*HOSTS)
        await deployment.until_fresh()
        deployment.ledger.begin_anew()
        theirs = {id_ for id_, owner in owners.items() if owner == "host-1"}
        assert theirs, "host-1 holds nothing"
        killed_at = time.time()
        deployment.hosts["host-1"].kill()
        await deployment.until_held_by("host-2", "host-3")
        await deployment.until_fresh()
        ledger = deployment.read()
        ledger.check_sequences()
        missing = ledger.check_holes(deployment.feed.told("number"), slot_of)
        assert missing >= len(theirs), "this test has seen nothing lost"
        gaps = ledger.blind_times()
        assert gaps.keys() == theirs
        begin, end = killed_at - LAST_WORD_S, killed_at + LEASE_S + BUSY_S
        assert all(begin <= since <= until <= end for times in gaps.values() for since, until in times), gaps
