"""What the owning host may change in a record: pure steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime import ownership
from runtime.errors import OwnershipLostError
from runtime.models.connection import Aspect, Desired, WebSocketConnection
from runtime.models.outcome import OutcomeStatus, outcome_of
from runtime.models.status import ConnectionStatus
from runtime.ownership import Step

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY_S = 86_400.0


def a_record(**fields: object) -> WebSocketConnection:
    made = WebSocketConnection.create("a", NOW).changed(url="wss://feed.example", generation=1, auto_reconnect=True)
    return made.changed(**fields)


records = st.builds(
    a_record,
    status=st.sampled_from(ConnectionStatus),
    desired=st.sampled_from(Desired),
    auto_reconnect=st.booleans(),
    instance_id=st.sampled_from([None, "me", "other"]),
    generation=st.integers(0, 3),
    ended_generation=st.integers(0, 3),
)


def step(record: WebSocketConnection, *, others_are_gone: bool = True, now: datetime = NOW) -> Step:
    return ownership.next_step(record, "me", is_gone=lambda _: others_are_gone, now=now, tombstone_ttl_s=DAY_S)


@given(records)
def test_nothing_is_dialled_that_nobody_wants_or_that_has_ended(record: WebSocketConnection):
    if step(record) is Step.CLAIM:
        assert record.desired is Desired.CONNECTED
        assert record.generation > record.ended_generation


@given(records)
def test_what_another_living_host_owns_is_left_alone(record: WebSocketConnection):
    if record.instance_id == "other":
        assert step(record, others_are_gone=False) is Step.NOTHING


@given(records)
def test_every_step_leads_to_a_record_that_needs_no_further_one(record: WebSocketConnection):
    match step(record):
        case Step.CLAIM:
            claimed = ownership.claim(record, "me", NOW)
            assert (claimed.instance_id, claimed.epoch) == ("me", record.epoch + 1)
            assert claimed.status in {ConnectionStatus.CONNECTING, ConnectionStatus.RECONNECTING}
        case Step.END | Step.RELEASE:
            assert step(ownership.settle(record, NOW, "why")) is Step.NOTHING
        case _:
            pass


@given(records, st.one_of(st.none(), st.datetimes(timezones=st.just(UTC))))
def test_only_an_epoch_after_the_first_of_a_generation_opens_with_a_gap(
    record: WebSocketConnection, read_until: datetime | None
):
    claimed = ownership.claim(record.changed(updated_at=NOW), "me", NOW, read_until)
    is_first = record.status is ConnectionStatus.DISCONNECTED
    assert claimed.read_until == (None if is_first else read_until or NOW)


def test_what_its_owner_has_offered_is_published_up_to_what_its_lease_says():
    owned = a_record(instance_id="other", epoch=7, status=ConnectionStatus.CONNECTED, updated_at=NOW)
    long_ago, word = NOW - timedelta(hours=1), NOW + timedelta(seconds=9)
    connected = owned.changed(read_until=long_ago)  # the begin of a gap that is announced by now
    offered = ownership.offer(connected, instance_id="other", epoch=7, to="me", within_s=5)
    assert offered is not None
    assert ownership.published_until(offered, word) == word
    claimed = ownership.claim(offered, "me", word, word, from_living=True)
    arrived = claimed.changed(status=ConnectionStatus.CONNECTED)
    later = word + timedelta(seconds=9)
    assert ownership.published_until(arrived, later) == word, "the host before may have died since"


def test_a_record_of_a_foreign_writer_gets_an_epoch_above_all_that_were():
    assert ownership.claim(a_record(epoch=0), "me", NOW).epoch == int(NOW.timestamp()) + 1


@pytest.mark.parametrize("fields", [{"instance_id": "other"}, {"epoch": 5}])
def test_whoever_no_longer_owns_writes_nothing(fields: dict[str, object]):
    owned = a_record(instance_id="me", epoch=4, status=ConnectionStatus.CONNECTED)
    who: dict[str, Any] = {"instance_id": "me", "epoch": 4, "now": NOW}
    for stored in (owned.changed(**fields), None):
        with pytest.raises(OwnershipLostError):
            ownership.report(stored, status=ConnectionStatus.CONNECTED, last_error=None, read_until=None, **who)
        with pytest.raises(OwnershipLostError):
            ownership.end(stored, generation=1, reason=None, **who)
        with pytest.raises(OwnershipLostError):
            ownership.release(stored, reason="stop", read_until=NOW, **who)


def test_a_report_that_says_nothing_new_is_no_write():
    owned = a_record(instance_id="me", epoch=4, status=ConnectionStatus.CONNECTED)
    same: dict[str, Any] = {"status": ConnectionStatus.CONNECTED, "last_error": None, "read_until": None}
    assert ownership.report(owned, instance_id="me", epoch=4, now=NOW, **same) is None


def test_the_end_of_a_generation_leaves_a_newer_one_wanted():
    owned = a_record(instance_id="me", epoch=4, status=ConnectionStatus.CONNECTED, generation=2)
    ended = ownership.end(owned, instance_id="me", epoch=4, generation=1, reason="gave up", now=NOW)
    assert step(ended) is Step.CLAIM


def test_a_tombstone_is_purged_after_its_time_and_never_while_it_is_owned():
    tombstone = a_record(desired=Desired.REMOVED, applied={Aspect.LIFE: NOW})
    later = NOW + timedelta(seconds=DAY_S + 1)
    assert step(tombstone, now=later) is Step.PURGE
    assert step(tombstone, now=later - timedelta(seconds=2)) is not Step.PURGE
    assert step(tombstone.changed(instance_id="me"), now=later) is not Step.PURGE


def test_a_tombstone_of_a_command_that_was_long_on_its_way_is_kept_as_long_as_any():
    issued = NOW - timedelta(seconds=2 * DAY_S)
    outcome = outcome_of("c", "disconnect", "a", OutcomeStatus.ACCEPTED, "removed", NOW)
    tombstone = a_record(desired=Desired.REMOVED, created_at=issued, applied={Aspect.LIFE: issued}).keeping(outcome)
    assert step(tombstone) is not Step.PURGE
    assert step(tombstone, now=NOW + timedelta(seconds=DAY_S + 1)) is Step.PURGE
