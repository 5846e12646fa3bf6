"""Which objects the garbage collector looks at."""

from __future__ import annotations

import gc
import weakref

from runtime.adapters.collector import THAW_EVERY_S, THRESHOLDS, collecting_what_is_new


class Thing:
    """Part of a cycle of its own."""

    def __init__(self) -> None:
        self.me = self


def test_what_has_outlived_a_full_collection_is_looked_at_again_only_after_a_day():
    now = 0.0
    with collecting_what_is_new(lambda: now):
        old = Thing()
        gc.collect()
        new = Thing()
        is_there = weakref.ref(old), weakref.ref(new)
        del old, new
        gc.collect()
        assert [ref() is not None for ref in is_there] == [True, False]
        now = THAW_EVERY_S - 1
        gc.collect()
        assert is_there[0]() is not None
        now = THAW_EVERY_S
        gc.collect()
        assert is_there[0]() is None


def test_what_was_there_before_is_not_looked_at():
    with collecting_what_is_new():
        assert gc.get_freeze_count() > 10_000
        assert len(gc.get_objects()) < 10_000


def test_young_collections_leave_all_others_to_full_ones():
    with collecting_what_is_new():
        before = gc.get_freeze_count()
        things = [Thing() for _ in range(100)]
        gc.collect(1)
        assert gc.get_freeze_count() <= before
        gc.collect()
        assert gc.get_freeze_count() >= before + len(things)


def test_the_collector_is_as_it_was_afterwards():
    before = gc.get_threshold(), list(gc.callbacks)
    with collecting_what_is_new():
        assert gc.get_threshold() == THRESHOLDS
    assert (gc.get_threshold(), list(gc.callbacks)) == before
    assert gc.get_freeze_count() == 0
