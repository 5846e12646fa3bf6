"""The dial budget of a remote host under several managers that share nothing but the store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from runtime.adapters.memory.sources import MemoryCalls, MemorySecrets
from runtime.failure import Failure, classify_status
from runtime.host.dial_budget import AWAY_S, KEPT, LOOK_S, SPREAD_S, STORE_PATIENCE_S, DialBudget
from runtime.host.watch import Nobody
from runtime.models.dials import HOLD_S, SLOTS, DialLimits
from runtime.ports import Dial
from runtime.records import Records
from runtime.sources import Answer, Sources
from tests.unit.cluster import LIMITS, Cluster, View
from tests.unit.world import URL, Quiet, World
from tests.virtual_time import FakeClock, virtual_time

PER_WINDOW = DialLimits(in_window=10, window_s=100)
AT_ONCE = DialLimits(at_once=4)
KEY = "websocket.dials."


class Dialled:
    """When the members have dialled; a handshake takes a while."""

    def __init__(self, cluster: Cluster, handshake_s: float = 0.01) -> None:
        self.cluster, self.handshake_s = cluster, handshake_s
        self.at: list[float] = []
        self.in_flight = self.most = 0
        for member in cluster.members.values():
            member.dialer.before = self.before

    async def before(self, dial: Dial) -> None:
        self.at.append(self.cluster.clock.monotonic())
        self.in_flight += 1
        self.most = max(self.most, self.in_flight)
        try:
            await asyncio.sleep(self.handshake_s)
        finally:
            self.in_flight -= 1

    def most_in(self, window_s: float) -> int:
        return max(sum(at <= other < at + window_s for other in self.at) for at in self.at)


def cluster_with(dials: DialLimits, count: int = 3) -> Cluster:
    return Cluster(count, replace(LIMITS, dials=dials, rebalances=False))


def named(count: int) -> list[str]:
    return [f"c{number}" for number in range(count)]


def keys_of(cluster: Cluster | World) -> list[str]:
    return [key for key in cluster.store.values if key.startswith(KEY)]


def waits_of(cluster: Cluster) -> dict[str, Any]:
    found = {}
    for member in cluster.members.values():
        for id_ in member.held:
            vitals = member.host.vitals(id_)
            if vitals is not None and vitals.waits_until is not None:
                found[id_] = vitals
    return found


@virtual_time
async def test_all_hosts_together_dial_no_more_than_the_budget_in_any_window_and_all_are_dialled_in_the_end():
    cluster = cluster_with(PER_WINDOW)
    dialled = Dialled(cluster)
    async with cluster.running():
        await cluster.connect(*named(35))
        await cluster.settle(20)
        assert len(dialled.at) == 10
        assert len(waits_of(cluster)) == 25
        await cluster.settle(500)
        assert len(dialled.at) == 35
        assert dialled.most_in(100) == 10
        assert dialled.at[-1] - dialled.at[0] < 3 * 100 * (1 + 1 / SLOTS) + 3 * 5 + 1, "no time is wasted"
        assert len({id_ for member in cluster.members.values() for id_ in member.held}) == 35
    assert len(keys_of(cluster)) == 1


@virtual_time
async def test_one_write_serves_many_dials():
    cluster = cluster_with(DialLimits(in_window=100, window_s=100), 1)
    writes: list[str] = []

    async def before(operation: str, key: str) -> None:
        nonlocal writes
        if key.startswith(KEY):
            await asyncio.sleep(0.02)
            writes += [key] * (operation == "put")

    async with cluster.running():
        cluster.store.before = before
        await asyncio.gather(*(cluster.connect(id_) for id_ in named(60)))
        await cluster.settle(5)
        assert len(cluster.members["A"].dialer.sockets) == 60
    assert len(writes) < 20


@virtual_time
async def test_all_hosts_together_have_no_more_dials_in_flight_than_may_be_at_once():
    cluster = cluster_with(AT_ONCE)
    dialled = Dialled(cluster, handshake_s=2)
    async with cluster.running():
        await cluster.connect(*named(40))
        await cluster.settle(120)
        assert len(dialled.at) == 40
        assert dialled.most == 4
        assert dialled.at[-1] - dialled.at[0] < 10 * (2 + 2) + 5


@virtual_time
async def test_a_host_that_dies_in_the_middle_of_its_dials_keeps_the_others_from_dialling_for_a_while_only():
    cluster = cluster_with(AT_ONCE, 1)
    dialled = Dialled(cluster, handshake_s=1000)
    async with cluster.running():
        await cluster.connect(*named(4))
        await cluster.settle(5)
        assert dialled.in_flight == 4
        await cluster.members["A"].kill()
        survivor = cluster.new("B")
        survivor.start()
        await cluster.connect("other")
        await cluster.settle(60)
        assert len(survivor.held) == 5
        assert not survivor.dialer.sockets
        await cluster.settle(HOLD_S)
        assert len(survivor.dialer.sockets) == 5


@pytest.mark.parametrize(
    ("failure", "least_s"),
    [
        (classify_status(429, 30), 30),
        (classify_status(503, 30), 30),
        (classify_status(429), 5),
    ],
)
@pytest.mark.parametrize("dials", [DialLimits(), PER_WINDOW])
def test_what_one_dial_was_told_by_its_answer_every_host_heeds(failure: Failure, least_s: float, dials: DialLimits):
    @virtual_time
    async def run():
        cluster = cluster_with(dials)
        dialled = Dialled(cluster)
        async with cluster.running():
            cluster.random = lambda: 0.0
            for member in cluster.members.values():
                member.dialer.failures = [failure]
            await cluster.connect("first")
            await cluster.settle(2)
            assert len(dialled.at) == 1
            for member in cluster.members.values():
                member.dialer.failures = []
            await cluster.connect(*named(6))
            await cluster.settle(2)
            assert len(dialled.at) == 1
            (shown,) = {vitals.waits_for for id_, vitals in waits_of(cluster).items() if id_ != "first"}
            assert shown == f"feed.example:443 is left alone: {failure.reason}"
            await cluster.settle(3 * least_s)
            assert len(dialled.at) == 8
            assert dialled.at[1] - dialled.at[0] >= least_s

    run()


@pytest.mark.parametrize("code", [1012, 1013])
def test_what_one_socket_was_told_at_its_close_every_host_heeds(code: int):
    @virtual_time
    async def run():
        cluster = cluster_with(DialLimits())
        dialled = Dialled(cluster)
        async with cluster.running():
            await cluster.connect("first")
            await cluster.settle(2)
            holder = cluster.members[cluster.holders_of("first")[0]]
            lost_at = cluster.clock.monotonic()
            holder.socket_of("first").lose(code, "secret plans")
            await cluster.settle(1)
            await cluster.connect(*named(6))
            await cluster.settle(60)
            assert len(dialled.at) == 8
            assert min(dialled.at[1:]) >= lost_at + 5
            reasons = [data["reason"] for data in cluster.data("status") if data["connectionId"] in named(6)]
            told = [reason for reason in reasons if reason and "is left alone" in reason]
            assert told
            assert not any("secret" in reason for reason in told)

    run()


@virtual_time
async def test_another_remote_host_and_another_port_are_not_paused():
    async with World().running() as world:
        world.dialer.failures = [classify_status(429, 600)]
        await world.command("connect", id="a", url="wss://one.example/", autoReconnect=True)
        await world.settle()
        for url in ("wss://two.example/", "wss://one.example:8443/"):
            await world.connect(url.partition("//")[2].strip("/"), url=url)
        assert len(world.dialer.sockets) == 2
        await world.command("connect", id="b", url="wss://ONE.example:443/other", autoReconnect=True)
        await world.settle()
        assert len(world.dialer.sockets) == 2


@virtual_time
async def test_those_who_waited_for_the_end_of_a_pause_do_not_dial_all_at_once():
    numbers = iter(range(10**6))
    cluster = cluster_with(DialLimits(), 1)
    dialled = Dialled(cluster)
    async with cluster.running():
        cluster.random = lambda: next(numbers) * 0.618 % 1
        member = cluster.members["A"]
        member.dialer.failures = [classify_status(429, 30)]
        await cluster.connect("first")
        await cluster.settle(1)
        await cluster.connect(*named(50))
        await cluster.settle(28 + SPREAD_S)
        assert len(dialled.at) >= 51
        assert dialled.most_in(3) < 15


@virtual_time
async def test_a_pause_survives_the_process_that_has_heard_of_it():
    world = World()
    async with world.running():
        world.dialer.failures = [classify_status(429, 100)]
        await world.command("connect", id="a", url=URL, autoReconnect=True)
        await world.settle(2)
    world.new_host()
    async with world.running():
        await world.command("connect", id="b", url=URL)
        await world.settle(20)
        assert not world.dialer.sockets
        await world.settle(200)
        assert world.dialer.sockets


@virtual_time
async def test_show_and_the_event_say_why_a_dial_waits_and_until_when():
    async with World(replace(World().limits, dials=DialLimits(in_window=1, window_s=100))).running() as world:
        await world.connect("a")
        await world.command("connect", id="b", url=URL, autoReconnect=True)
        await world.settle()
        shown = await world.command("connection", id="b")
        assert shown["status"] == "Connecting"
        assert shown["waitsFor"] == "dials to feed.example:443, of which there may be 1 in 100 s, of all hosts together"
        (told,) = [data for data in world.data("status") if "waits until" in (data["reason"] or "")]
        assert told["reason"] == f"waits until {shown['waitsUntil']}: {shown['waitsFor']}"
        assert 100 <= told["retryInS"] <= 110
        await world.settle(111)
        shown = await world.command("connection", id="b")
        assert (shown["status"], shown["waitsFor"], shown["waitsUntil"]) == ("Connected", None, None)


@virtual_time
async def test_show_says_how_long_the_pause_before_a_redial_is():
    async with World().running() as world:
        socket = await world.connect(options={"reconnectBaseDelayS": 30})
        socket.lose(1011)
        await world.settle()
        shown = await world.command("connection", id="a")
        assert shown["waitsFor"] == "the peer closed with 1011"
        await world.settle(20)
        assert (await world.command("connection", id="a"))["waitsFor"] is None


@virtual_time
async def test_a_process_without_sockets_shows_what_a_dial_of_another_process_waits_for():
    cluster = cluster_with(DialLimits(in_window=1, window_s=100))
    async with cluster.running():
        await cluster.connect("a", "b")
        await cluster.settle(15)
        shown = [await cluster.command("connection", id=id_) for id_ in "ab"]
        (waiting,) = [view for view in shown if view["waitsFor"] is not None]
        assert (waiting["status"], waiting["waitsFor"]) == (
            "Connecting",
            "dials to feed.example:443, of which there may be 1 in 100 s, of all hosts together",
        )


@virtual_time
async def test_a_disconnect_ends_the_wait_and_gives_its_place_to_the_next():
    async with World(replace(World().limits, dials=DialLimits(in_window=1, window_s=100))).running() as world:
        await world.connect("a")
        for id_ in "bcd":
            await world.command("connect", id=id_, url=URL, autoReconnect=True)
        await world.settle()
        await world.command("disconnect", id="b")
        await world.settle(1)
        assert sorted(world.host.keepers) == ["a", "c", "d"]
        await world.settle(111)
        assert [socket.dial.url for socket in world.dialer.sockets] == [URL] * 2
        assert world.host.keepers["c"].life.session is not None
        remote = world.host.tools.dials._remotes["feed.example:443"]
        assert (remote.in_flight, len(remote.waiting)) == (0, 1)


def cut(cluster: Cluster, *ids: str) -> None:
    """These hosts do not reach the records of dials any more."""
    for id_ in ids:
        dials = cluster.members[id_].host.tools.dials
        view = View(cluster.store)
        view.is_cut = True
        dials.records = Records(view, cluster.clock, lambda: 0.5)


@virtual_time
async def test_while_the_store_is_away_each_host_keeps_to_its_share_and_goes_on_dialling():
    cluster = cluster_with(DialLimits(in_window=12, window_s=100))
    dialled = Dialled(cluster)
    async with cluster.running():
        await cluster.settle(20)
        cut(cluster, *cluster.members)
        await cluster.connect(*named(60))
        await cluster.settle(20)
        assert len(dialled.at) == 12
        said = {vitals.waits_for.partition(", the")[0] for vitals in waits_of(cluster).values()}
        assert said == {"dials to feed.example:443, of which there may be 4 in 100 s"}
        await cluster.settle(1000)
        assert len(dialled.at) == 60
        assert dialled.most_in(100) == 12
        warned = [event for member in cluster.members.values() for event, _ in member.observer.warnings]
        assert warned == ["dial_budget_not_shared"] * 3


@virtual_time
async def test_what_was_dialled_while_the_store_was_away_counts_when_it_is_back():
    cluster = cluster_with(DialLimits(in_window=12, window_s=100))
    dialled = Dialled(cluster)
    async with cluster.running():
        shared = {id_: member.host.tools.dials.records for id_, member in cluster.members.items()}
        cut(cluster, "A")
        cluster.topics.subscribed["websocket-host"] = [cluster.members["A"].host.assign]
        await cluster.connect(*named(4))
        await cluster.settle(2)
        assert len(dialled.at) == 4
        cluster.members["A"].host.tools.dials.records = shared["A"]
        await cluster.settle(3 * AWAY_S)
        for _ in range(2):  # more of A's dials: what it made alone is told once only
            async with cluster.members["A"].host.tools.dials.turn(URL, lambda wait: None):
                pass
        cluster.topics.subscribed["websocket-host"] = [cluster.members["B"].host.assign]
        await cluster.connect(*(f"d{number}" for number in range(20)))
        await cluster.settle(20)
        assert len(dialled.at) == 12 - 2


@virtual_time
async def test_a_store_that_hangs_holds_up_one_dial_in_a_while_and_not_for_long():
    async with World().running() as world:
        hanging = World().store

        async def hang(operation: str, key: str) -> None:
            await asyncio.sleep(10**6)

        hanging.before = hang
        world.host.tools.dials.records = Records(hanging, world.clock, lambda: 0.5)
        await world.command("connect", id="a", url=URL)
        await world.settle(STORE_PATIENCE_S + 0.1)
        assert len(world.dialer.sockets) == 1
        for number in range(5):
            await world.command("connect", id=f"b{number}", url=f"wss://host-{number}.example/")
        await world.settle()
        assert len(world.dialer.sockets) == 6


@virtual_time
async def test_a_record_that_cannot_be_read_stops_nobody():
    cluster = cluster_with(DialLimits(in_window=2, window_s=100), 1)
    async with cluster.running():
        await cluster.connect("a")
        await cluster.settle(1)
        (key,) = keys_of(cluster)
        await cluster.store.put(key, b"garbage", cluster.store.values[key].etag)
        await cluster.connect("b", "c")
        await cluster.settle(1)
        assert len(cluster.members["A"].dialer.sockets) == 2
        assert [event for event, _ in cluster.members["A"].observer.warnings] == ["dial_budget_not_shared"]
        await cluster.settle(120)
        assert len(cluster.members["A"].dialer.sockets) == 3


@virtual_time
async def test_without_a_limit_a_storm_of_dials_is_one_read_a_second_and_no_write():
    cluster = cluster_with(DialLimits(), 1)
    operations: list[str] = []

    async def before(operation: str, key: str) -> None:
        if key.startswith(KEY):
            operations.append(operation)

    async with cluster.running():
        cluster.store.before = before
        await cluster.connect(*named(200))
        await cluster.settle(1)
        assert len(cluster.members["A"].dialer.sockets) == 200
        assert set(operations) == {"get"}
        assert len(operations) <= 2 + cluster.clock.monotonic() / LOOK_S
    assert len(operations) < 10


def budget_of(limits: DialLimits) -> DialBudget:
    clock = FakeClock()
    records = Records(World().store, clock, lambda: 0.5)
    return DialBudget(records, clock, lambda: 0.5, Quiet(), "A", limits, Nobody())


@pytest.mark.parametrize("limits", [DialLimits(), PER_WINDOW, AT_ONCE])
def test_remote_hosts_that_are_not_dialled_any_more_are_forgotten(limits: DialLimits):
    @virtual_time
    async def run():
        budget = budget_of(limits)
        running = asyncio.create_task(budget.run())
        for number in range(3 * KEPT):
            async with budget.turn(f"wss://h{number}.example/", lambda wait: None):
                pass
            await asyncio.sleep(1)
        assert len(budget._remotes) <= KEPT
        running.cancel()
        await asyncio.wait({running})

    run()


@pytest.mark.parametrize("limits", [PER_WINDOW, AT_ONCE, DialLimits()])
@pytest.mark.parametrize("after", range(12))
def test_a_dial_that_is_cancelled_anywhere_leaves_nothing_in_flight(limits: DialLimits, after: int):
    @virtual_time
    async def run():
        budget = budget_of(limits)
        store: Any = budget.records.store
        store.before = _slow
        running = asyncio.create_task(budget.run())

        async def dial() -> None:
            async with budget.turn(URL, lambda wait: None):
                await asyncio.sleep(0.5)

        dials = [asyncio.create_task(dial()) for _ in range(12)]
        await asyncio.sleep(after * 0.1)
        for each in dials[::2]:
            each.cancel()
        done, _ = await asyncio.wait(dials, timeout=600)
        assert len(done) == 12
        await asyncio.sleep(5)
        remote = budget._remotes["feed.example:443"]
        assert (remote.in_flight, dict(remote.waiting), remote.is_unwritten) == (0, {}, False)
        async with budget.turn(URL, lambda wait: None):
            pass
        await asyncio.sleep(5)
        assert not any("inFlight" in text and '"A"' in text for text in _stored(store))
        running.cancel()
        await asyncio.wait({running})

    run()


async def _slow(operation: str, key: str) -> None:
    await asyncio.sleep(0.07)


def _stored(store: Any) -> list[str]:
    return [stored.value.decode() for stored in store.values.values()]


def world_with_tokens(calls: MemoryCalls) -> World:
    limits = replace(World().limits, dials=DialLimits(in_window=1, window_s=100))
    return World(limits, sources=Sources(MemorySecrets(), calls, calls, (), (), cache_s=60))


@pytest.mark.parametrize("host", ["feed.example", "other.example"])
def test_what_was_prepared_before_a_wait_is_prepared_anew_also_for_another_remote_host(host: str):
    @virtual_time
    async def run():
        calls = MemoryCalls()
        async with world_with_tokens(calls).running() as world:
            await world.connect("a")
            calls.answer = Answer(200, b'{"url": "wss://feed.example/?token=1"}')
            prepare = {"prepare": {"url": "https://tokens.example/feed"}}
            await world.command("connect", id="b", url=URL, autoReconnect=True, options=prepare)
            await world.settle(20)
            assert len(calls.calls) == 1
            calls.answer = Answer(200, f'{{"url": "wss://{host}/?token=2"}}'.encode())
            await world.settle(95)
            assert len(calls.calls) == 2
            assert world.dialer.sockets[-1].dial.url == f"wss://{host}/?token=2"
            assert world.host.tools.dials._remotes[f"{host}:443"].mine.granted

    run()


@virtual_time
async def test_a_prepare_call_that_is_throttled_pauses_no_remote_host():
    calls = MemoryCalls()
    async with world_with_tokens(calls).running() as world:
        calls.answer = Answer(429, b"", 600)
        prepare = {"prepare": {"url": "https://tokens.example/feed"}}
        await world.command("connect", id="b", url=URL, autoReconnect=True, options=prepare)
        await world.settle()
        await world.connect("a")
        assert len(world.dialer.sockets) == 1


@virtual_time
async def test_the_end_of_a_dial_makes_room_for_the_next_at_once():
    async with World(replace(World().limits, dials=DialLimits(at_once=1))).running() as world:
        for id_ in named(20):
            await world.command("connect", id=id_, url=URL)
        await world.settle(3)
        assert len(world.dialer.sockets) == 20


@virtual_time
async def test_a_wait_that_was_given_up_is_not_shown_any_more():
    async with World(replace(World().limits, dials=DialLimits(in_window=1, window_s=100))).running() as world:
        await world.connect("a")
        await world.command("connect", id="b", url=URL, autoReconnect=True)
        await world.settle()
        assert (await world.command("connection", id="b"))["waitsFor"] is not None
        await world.connect("b", url="wss://other.example/", replace=True)
        shown = await world.command("connection", id="b")
        assert (shown["status"], shown["waitsFor"]) == ("Connected", None)


@virtual_time
async def test_a_pause_that_is_heard_of_while_the_store_is_asked_is_kept_and_written():
    budget = budget_of(DialLimits())
    store: Any = budget.records.store
    running = asyncio.create_task(budget.run())

    async def before(operation: str, key: str) -> None:
        await asyncio.sleep(0.5)

    store.before = before
    budget.heed(URL, classify_status(429, 30))
    await asyncio.sleep(1)  # the first write is under way
    budget.heed(URL, classify_status(429, 300))
    await asyncio.sleep(5)
    store.before = None
    pause = budget._remotes["feed.example:443"].pause
    assert pause is not None
    assert pause.length_s == 300
    assert any('"lengthS":300' in text for text in _stored(store))
    running.cancel()
    await asyncio.wait({running})
