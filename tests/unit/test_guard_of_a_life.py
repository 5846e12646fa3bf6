"""The guard over a connection's life: what it refuses is not dialled, at first and after each loss."""

from __future__ import annotations

from tests.unit.world import World
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_name_that_leads_inside_after_a_loss_is_not_dialled_until_it_leads_out_again():
    async with World().running() as world:
        socket = await world.connect(options={"refusedAttempts": 20})
        world.resolver.hosts["feed.example"] = ["10.0.0.1"]
        socket.lose()
        await world.settle(5)
        assert world.dialer.dials == 1
        assert "the guard refuses 10.0.0.1: private network 10.0.0.0/8" in str((await world.record()).last_error)
        world.resolver.hosts["feed.example"] = ["93.184.215.14"]
        await world.settle(120)
        assert world.dialer.dials == 2
        assert world.dialer.sockets[-1].dial.addresses == ("93.184.215.14",)
        assert world.statuses()[-1] == "Connected"


@virtual_time
async def test_a_name_that_always_leads_inside_is_given_up_without_a_dial():
    async with World().running() as world:
        world.resolver.hosts["feed.example"] = ["93.184.215.14", "::ffff:169.254.169.254"]
        await world.command(
            "connect", id="a", url="wss://feed.example/", autoReconnect=True, options={"refusedAttempts": 2}
        )
        await world.settle(600)
        assert world.dialer.dials == 0
        assert world.statuses()[-1] == "Disconnected"
        assert "cloud metadata 169.254.0.0/16, by 169.254.169.254 in it" in str((await world.record()).last_error)
