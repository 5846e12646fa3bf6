"""A host that is back since the others looked at its lease: what it owns by now is not taken for that of a dead one."""

from __future__ import annotations

import pytest

from runtime.models.status import ConnectionStatus
from tests.unit.moves import blind_gaps, move, moving
from tests.virtual_time import virtual_time

PHASES_S = [0.0, 0.2, 0.4, 0.6, 0.8]  # of a heartbeat, which is also how often the others look


@virtual_time
@pytest.mark.parametrize("phase_s", PHASES_S)
async def test_what_a_host_takes_over_right_after_its_restart_is_not_claimed_back(phase_s: float):
    async with moving() as (cluster, feed, owner, other):
        epoch = (await cluster.record("a")).epoch
        await other.stop()
        await cluster.settle(2 + phase_s)
        back = cluster.new(other.id)
        back.start()
        await cluster.settle(0.01)
        move(owner, back)
        await cluster.settle(3)
        record = await cluster.record("a")
        assert (record.instance_id, record.epoch) == (back.id, epoch + 1)
        assert cluster.holders_of("a") == [back.id]
        feed.check_complete()
        assert blind_gaps(cluster) == []


@virtual_time
@pytest.mark.parametrize("phase_s", PHASES_S)
async def test_a_life_of_one_socket_that_began_after_the_restart_of_its_host_is_not_ended(phase_s: float):
    async with moving() as (cluster, _, owner, other):
        await other.stop()
        await cluster.settle(2 + phase_s)
        back = cluster.new(other.id)
        cluster.topics.is_lossy = True
        back.start()
        await cluster.settle(0.01)
        await cluster.connect("b", autoReconnect=False)
        back.host.nudge("b")
        await cluster.settle(0.01)
        owner.host.nudge("b")
        await cluster.settle(2)
        record = await cluster.record("b")
        assert (record.instance_id, record.status) == (back.id, ConnectionStatus.CONNECTED)
