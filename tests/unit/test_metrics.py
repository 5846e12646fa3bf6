"""What a scrape shows of a manager's life, in virtual time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.adapters.metrics import PrometheusMeters
from runtime.errors import EventRefusedError, PublishError
from runtime.failure import Failure, FailureKind
from runtime.models.events import FRAME, Event
from tests.unit.world import World
from tests.virtual_time import virtual_time


class Scraped:
    """A manager and its page."""

    def __init__(self) -> None:
        self.meters = PrometheusMeters({"version": "1"}, lambda: 0.5)
        self.world = World(meters=self.meters)
        self.meters.gauges = self.world.manager.gauges

    def page(self) -> dict[tuple[str, ...], float]:
        """Each number by its name and the values of its labels."""
        families = text_string_to_metric_families(self.meters.text().decode())
        return {(s.name, *s.labels.values()): s.value for family in families for s in family.samples}


@virtual_time
async def test_frames_are_counted_over_sockets_and_after_the_end_of_their_connection():
    scraped = Scraped()
    async with scraped.world.running() as world:
        socket = await world.connect()
        socket.push("1", "2")
        await world.settle()
        await world.command("stopPublish", id="a")
        await world.settle()
        socket.push("without a topic")
        await world.settle()
        page = scraped.page()
        assert (page[("wsm_frames_received_total",)], page[("wsm_frames_published_total",)]) == (3, 2)
        assert page[("wsm_connections", "Connected")] == 1
        assert page[("wsm_publish_seconds_count", "frame")] >= 1
        await world.command("disconnect", id="a")
        await world.settle()
        page = scraped.page()
        assert page[("wsm_frames_received_total",)] == 3
        assert page[("wsm_connections", "Connected")] == 0
        assert page[("wsm_queued_events",)] == 0
        assert page[("wsm_events_published_total",)] > 0


@virtual_time
async def test_what_waits_for_the_broker_is_shown_with_the_failures():
    scraped = Scraped()
    async with scraped.world.running() as world:
        socket = await world.connect()

        async def away(events: Sequence[Event]) -> None:
            raise PublishError("the broker is away")

        world.publisher.before = away
        socket.push("1", "2", "3")
        await world.settle(3)
        page = scraped.page()
        assert page[("wsm_queued_messages",)] == 3
        assert page[("wsm_queued_bytes",)] > 300
        assert page[("wsm_publish_failures_total", "frame")] > 1
        assert page[("wsm_frames_published_total",)] == 0


@virtual_time
async def test_what_arrived_before_a_failure_counts_as_published():
    scraped = Scraped()
    async with scraped.world.running() as world:
        socket = await world.connect()

        async def first_only(events: Sequence[Event]) -> None:
            if len(events) > 1:
                world.publisher.events.append(events[0])
                raise PublishError("cut off", published=1)

        world.publisher.before = first_only
        socket.push("1", "2", "3")
        await world.settle(3)
        assert scraped.page()[("wsm_frames_published_total",)] == 3


@virtual_time
async def test_a_refused_frame_is_a_dead_letter_a_gap_and_a_dropped_frame():
    scraped = Scraped()
    async with scraped.world.running() as world:
        socket = await world.connect()

        async def refuse(events: Sequence[Event]) -> None:
            for index, event in enumerate(events):
                if event.type == FRAME and b"bad" in event.data:
                    world.publisher.events.extend(events[:index])
                    raise EventRefusedError("too large", index=index)

        world.publisher.before = refuse
        socket.push("bad", "good")
        await world.settle()
        page = scraped.page()
        assert page[("wsm_dead_letters_total",)] == 1
        assert page[("wsm_gaps_total", "dropped")] == 1
        assert page[("wsm_frames_dropped_total",)] == 1
        assert page[("wsm_frames_published_total",)] == 1
        assert page[("wsm_publish_failures_total", "frame")] == 1


@virtual_time
async def test_frames_that_the_queue_drops_are_counted_by_number():
    scraped = Scraped()
    async with scraped.world.running() as world:
        socket = await world.connect(options={"queueMaxMessages": 10, "overflow": "drop_oldest"})
        is_away = True

        async def away(events: Sequence[Event]) -> None:
            if is_away:
                raise PublishError("the broker is away")

        world.publisher.before = away
        socket.push(*(str(number) for number in range(100)))
        await world.settle(5)
        is_away = False
        await world.settle(20)
        page = scraped.page()
        assert page[("wsm_frames_dropped_total",)] + page[("wsm_frames_published_total",)] == 100
        assert page[("wsm_frames_dropped_total",)] >= 80


@virtual_time
async def test_reconnects_are_told_by_what_went_wrong_and_their_gap_is_blind():
    scraped = Scraped()
    async with scraped.world.running() as world:
        socket = await world.connect()
        world.dialer.failures.append(Failure(FailureKind.THROTTLED, "busy", 1))
        socket.lose()
        await world.settle(30)
        page = scraped.page()
        assert page[("wsm_reconnects_total", "transient")] == 1
        assert page[("wsm_reconnects_total", "throttled")] == 1
        assert page[("wsm_gaps_total", "blind")] == 1
        assert page[("wsm_frames_dropped_total",)] == 0


@virtual_time
async def test_commands_are_told_by_name_and_outcome_late_ends_included():
    scraped = Scraped()
    async with scraped.world.running() as world:
        await world.connect()
        await world.command("connect", id="b", url="nonsense")
        await world.command("send", id="a", message="hello")
        await world.dispatch.deliver(b'{"command": "fly", "id": "a"}')
        await world.settle()
        page = scraped.page()
        assert page[("wsm_commands_total", "connect", "accepted")] == 1
        assert page[("wsm_commands_total", "connect", "rejected")] == 1
        assert page[("wsm_commands_total", "send", "accepted")] == 1
        assert page[("wsm_commands_total", "send", "done")] == 1
        assert page[("wsm_commands_total", "unknown", "rejected")] == 1
        assert page[("wsm_dead_letters_total",)] == 1


@virtual_time
async def test_the_age_of_the_lease_is_that_of_its_last_renewal_and_too_old_is_not_ready():
    scraped = Scraped()
    world = scraped.world
    assert ("wsm_lease_age_seconds",) not in scraped.page()
    assert world.resident.why_not_ready() == "the lease is not written yet"
    await world.resident.begin()
    await world.settle(14)
    assert scraped.page()[("wsm_lease_age_seconds",)] == 14
    assert world.resident.why_not_ready() is None
    await world.settle(2)
    assert world.resident.why_not_ready() == "the lease was last renewed 16.0 s ago"
    await world.host.close()
    assert world.resident.why_not_ready() == "the host is draining"


@virtual_time
async def test_a_lost_beat_does_not_renew_the_lease():
    world = World()
    await world.resident.begin()
    before = world.resident.lease.renewed_at
    await world.settle(5)
    world.store.before = _fail
    with pytest.raises(OSError, match="away"):
        await world.resident.lease.beat()
    assert world.resident.lease.renewed_at == before


async def _fail(*_: object) -> None:
    raise OSError("away")


@virtual_time
async def test_nothing_of_a_connection_is_a_label():
    scraped = Scraped()
    async with scraped.world.running() as world:
        await world.connect("very-own-id", topic="very-own-topic")
        page = scraped.meters.text().decode()
        assert 'wsm_build_info{version="1"} 1.0' in page
        assert "wsm_loop_lag_seconds 0.5" in page
        assert "very-own" not in page
        assert "feed.example" not in page


def test_the_ticks_of_the_loop_are_told_by_their_delay():
    scraped = Scraped()
    for lag_s in (0, 0.2, 3):
        scraped.meters.ticked(lag_s)
    page = scraped.page()
    ends = ("0.001", "0.1", "0.25", "2.5", "5.0")
    assert [page["wsm_loop_tick_lag_seconds_bucket", end] for end in ends] == [1, 1, 2, 2, 3]
    assert page[("wsm_loop_tick_lag_seconds_count",)] == 3


@virtual_time
async def test_handovers_are_counted_by_whether_they_were_complete():
    scraped = Scraped()
    async with scraped.world.running() as world:
        await world.connect()
        record = await world.record()
        for is_complete in (True, True, False):
            world.announcer.handed_over(record, 7, is_complete=is_complete)
        await world.settle()
        page = scraped.page()
        assert (page[("wsm_handovers_total", "yes")], page[("wsm_handovers_total", "no")]) == (2, 1)
        assert world.data("handover")[0]["lastSequence"] == 7
