"""Hosts that are gone for long leave the list, and nobody who lives does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import orjson

from runtime.host.forgetting import EVERY_S, KEPT, Forgetting
from runtime.models.wire import format_time
from tests.unit.leases import LEASE_S, Leases
from tests.unit.world import Quiet
from tests.virtual_time import virtual_time

LONG_AGO, LATELY = KEPT + timedelta(minutes=1), KEPT - timedelta(minutes=10)


class House(Leases):
    def __init__(self) -> None:
        super().__init__()
        self.forgetting = Forgetting(self.watch, self.records, self.clock, Quiet())

    async def beat_before(self, id_: str, ago: timedelta, **fields: Any) -> None:
        await self.beat(id_, beatAt=format_time(self.clock.now() - ago), **fields)
        await self.write(f"websocket.vitals.{id_}", {"pages": 2})
        await self.write(f"websocket.vitals.{id_}+1", {"pages": 1})

    @property
    def keys(self) -> set[str]:
        return {key.removeprefix("websocket.") for key in self.store.values}

    @property
    def listed(self) -> list[str]:
        return orjson.loads(self.store.values["websocket.instances"].value)["ids"]


@virtual_time
async def test_who_ended_or_died_a_day_ago_is_forgotten_with_all_that_it_left():
    house = House()
    await house.beat_before("ended", LONG_AGO, hasEnded=True)
    await house.beat_before("died", LONG_AGO)
    await house.beat_before("lately", LATELY, hasEnded=True)
    await house.list("ended", "died", "lately", "never", draining=("died",))
    await house.look(LEASE_S)
    await house.forgetting.forget_all()
    assert house.listed == ["lately"]
    assert house.keys == {"instances", "instance.lately", "vitals.lately", "vitals.lately+1"}


@virtual_time
async def test_who_beats_is_not_forgotten_however_wrong_its_clock_is():
    house = House()
    await house.beat_before("a", LONG_AGO)
    await house.look(LEASE_S, "a")
    await house.beat_before("a", LONG_AGO)
    await house.watch.look()
    await house.forgetting.forget_all()
    assert house.listed == ["a"]


@virtual_time
async def test_who_comes_back_before_it_is_forgotten_stays():
    house = House()
    await house.beat_before("a", LONG_AGO)
    await house.look(LEASE_S)
    await house.beat("a", incarnation="2")
    await house.forgetting.forget_all()
    assert house.listed == ["a"]
    assert {"instance.a", "vitals.a"} <= house.keys


@virtual_time
async def test_who_comes_back_while_its_lease_is_being_removed_keeps_it():
    house = House()
    await house.beat_before("a", LONG_AGO)
    await house.look(LEASE_S)

    async def back(operation: str, key: str) -> None:
        if (operation, key) == ("delete", "websocket.instance.a"):
            house.store.before = None
            await house.beat("a", incarnation="2")

    house.store.before = back
    await house.forgetting.forget_all()
    assert house.listed == ["a"]
    assert "instance.a" in house.keys


@virtual_time
async def test_who_comes_back_while_it_is_taken_off_the_list_is_put_back():
    house = House()
    await house.beat_before("a", LONG_AGO)
    await house.look(LEASE_S)

    async def back(operation: str, key: str) -> None:
        if (operation, key) == ("put", "websocket.instances"):
            house.store.before = None
            await house.beat("a", incarnation="2", is_listed=False)

    house.store.before = back
    await house.forgetting.forget_all()
    assert house.listed == ["a"]
    assert "instance.a" in house.keys


@virtual_time
async def test_garbage_of_a_dead_host_goes_too():
    house = House()
    await house.beat_before("a", LONG_AGO)
    await house.write("websocket.instance.a", "garbage")
    await house.write("websocket.vitals.a", "garbage")
    await house.look(LEASE_S)
    await house.forgetting.forget_all()
    assert house.listed == []
    assert house.keys == {"instances", "vitals.a+1"}


@virtual_time
async def test_it_is_done_every_hour_and_a_store_that_is_away_is_tried_again():
    house = House()
    await house.beat_before("a", LONG_AGO, hasEnded=True)
    running = asyncio.create_task(house.forgetting.run())
    await house.watch.look()
    house.away()
    await house.clock.sleep(EVERY_S + 1)
    house.back()
    assert house.listed == ["a"]
    await house.clock.sleep(EVERY_S)
    assert house.listed == []
    running.cancel()
    await asyncio.wait({running})
