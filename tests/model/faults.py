"""Faults to plant in production functions: each is a mistake that somebody might make, and that must be found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from handlers import disconnect
from runtime import ownership, records
from runtime.errors import OwnershipLostError, RaceLostError, StoreError
from runtime.host.lease import Lease
from runtime.host.succession import Succession
from runtime.host.watch import Watch
from runtime.judging import Rejected
from runtime.models.connection import WebSocketConnection
from runtime.models.constants import connection_key
from runtime.records import Records

Plant = Callable[[pytest.MonkeyPatch], None]


def skip_the_epoch_check(patch: pytest.MonkeyPatch) -> None:
    def check_owner(record: WebSocketConnection | None, _instance_id: str, _epoch: int) -> WebSocketConnection:
        if record is None:
            raise OwnershipLostError("gone")
        return record

    patch.setattr(ownership, "check_owner", check_owner)


def claim_without_raising_the_epoch(patch: pytest.MonkeyPatch) -> None:
    claim = ownership.claim
    patch.setattr(
        ownership, "claim", lambda record, *rest, **more: claim(record, *rest, **more).changed(epoch=record.epoch)
    )


def drop_the_second_look_after_a_lapse(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lease, "term", property(lambda _self: 1, lambda _self, _value: None))


def act_without_a_lease(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lease, "is_held", lambda self: self.renewed_at is not None and not self.is_taken)


def trust_the_clocks_of_others(patch: pytest.MonkeyPatch) -> None:
    def is_gone(self: Watch, instance_id: str) -> bool:
        lease = self.lease_of(instance_id)
        beat_at = lease.beat_at if lease is not None else None
        return beat_at is not None and self.clock.now() - beat_at > timedelta(seconds=self.lease_s)

    patch.setattr(Watch, "is_gone", is_gone)


def take_an_outage_of_the_store_for_deaths(patch: pytest.MonkeyPatch) -> None:
    look = Watch.look

    async def looking(self: Watch) -> set[str]:
        try:
            return await look(self)
        except StoreError:
            now = self._looked_at = self.clock.monotonic()
            self._signs = {id_: replace(sign, until=now) for id_, sign in self._signs.items()}
            self._gone = {id_ for id_, sign in self._signs.items() if sign.is_gone}
            raise

    patch.setattr(Watch, "look", looking)


def go_by_what_was_seen_before_a_pause(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Watch, "is_gone", lambda self, instance_id: instance_id in self._gone)


def start_without_waiting_for_the_one_before(patch: pytest.MonkeyPatch) -> None:
    async def until_free(self: Succession) -> Any:
        try:
            return await self.lease.predecessor()
        except StoreError:
            return None

    patch.setattr(Succession, "until_free", until_free)


def replay_instead_of_deciding_again(patch: pytest.MonkeyPatch) -> None:
    async def swap(self: Records, key: str, decide: Callable[[bytes | None], bytes | None]) -> bytes | None:
        async with self._locks.hold(key):
            stored = await self.store.get(key)
            value = decide(stored.value if stored else None)
            while value is not None:
                try:
                    await self.store.put(key, value, stored.etag if stored else None)
                except (RaceLostError, StoreError):
                    stored = await self.store.get(key)
                else:
                    return value
            return stored.value if stored else None

    patch.setattr(Records, "_swap", swap)


def purge_without_looking_again(patch: pytest.MonkeyPatch) -> None:
    async def delete(self: Records, connection_id: str, _agreed: Callable[[WebSocketConnection], bool]) -> bool:
        key = connection_key(connection_id)
        for _ in range(records.MAX_TRIES):
            stored = await self.store.get(key)
            if stored is None:
                return False
            try:
                await self.store.delete(key, stored.etag)
            except RaceLostError:
                continue
            return True
        return False

    patch.setattr(Records, "delete", delete)


def take_out_of_the_index_without_looking_again(patch: pytest.MonkeyPatch) -> None:
    async def restore_to_index(_self: Records, _connection_id: str) -> None: ...

    patch.setattr(Records, "restore_to_index", restore_to_index)


def forget_the_epoch_at_a_removal(patch: pytest.MonkeyPatch) -> None:
    decide = disconnect.decide

    def deciding(record: Any, command: Any, order: Any) -> Any:
        verdict = decide(record, command, order)
        if isinstance(verdict, Rejected) or not verdict.record.is_removed:
            return verdict
        return replace(verdict, record=verdict.record.changed(epoch=0))

    patch.setattr(disconnect, "decide", deciding)


def make_again_with_the_first_epoch(patch: pytest.MonkeyPatch) -> None:
    create = WebSocketConnection.create
    patch.setattr(WebSocketConnection, "create", lambda id_, now: create(id_, now).changed(epoch=1))


def forget_what_has_ended(patch: pytest.MonkeyPatch) -> None:
    end = ownership.end

    def ending(record: Any, **how: Any) -> WebSocketConnection:
        return end(record, **how).changed(ended_generation=record.ended_generation)

    patch.setattr(ownership, "end", ending)


def take_back_too_late(patch: pytest.MonkeyPatch) -> None:
    def take_back(record: Any, *, instance_id: str, epoch: int, now: Any) -> WebSocketConnection | None:
        if record is None or record.epoch != epoch + 1:
            return None
        taken: WebSocketConnection = record.changed(
            instance_id=instance_id, epoch=record.epoch + 1, updated_at=now, handover=None
        )
        return taken

    patch.setattr(ownership, "take_back", take_back)


def take_from_the_living(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ownership, "is_offered_to", lambda record, _instance_id: record.handover is not None)


LIVES = "which lives and has not offered it"
FAULTS: list[tuple[Plant, str]] = [
    (skip_the_epoch_check, "wrote the status"),
    (claim_without_raising_the_epoch, "is given out again"),
    (drop_the_second_look_after_a_lapse, "which was over before its lease was renewed"),
    (act_without_a_lease, "without a lease"),
    (trust_the_clocks_of_others, LIVES),
    (take_an_outage_of_the_store_for_deaths, LIVES),
    (go_by_what_was_seen_before_a_pause, LIVES),
    (start_without_waiting_for_the_one_before, "two processes under one id may act"),
    (replay_instead_of_deciding_again, "is given out again"),
    (purge_without_looking_again, "which is no unowned tombstone"),
    (take_out_of_the_index_without_looking_again, "is lost from the index"),
    (forget_the_epoch_at_a_removal, "fell from"),
    (make_again_with_the_first_epoch, "fell from"),
    (forget_what_has_ended, "which had ended"),
    (take_back_too_late, LIVES),
    (take_from_the_living, LIVES),
]
