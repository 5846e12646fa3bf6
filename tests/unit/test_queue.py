"""The queue of a connection that arrives from another host: what is held back, and what is not."""

from __future__ import annotations

import pytest

from runtime.host.parcel import Frame
from runtime.host.queue import Dropped, FrameQueue
from runtime.models.options import Overflow, WebSocketOptions


class Queue:
    def __init__(self, overflow: Overflow = Overflow.BLOCK, max_messages: int = 100) -> None:
        self.ready = 0
        self.dropped: list[Dropped] = []
        options = WebSocketOptions(queue_max_messages=max_messages, overflow=overflow)
        self.queue = FrameQueue("a", options, self._on_ready, lambda d, _: self.dropped.append(d))

    def _on_ready(self, _: FrameQueue) -> None:
        self.ready += 1

    def offer(self, *sequences: int) -> None:
        for sequence in sequences:
            self.queue.offer(Frame(1, sequence, float(sequence), 300, b"{}", "t", "a", "2026-01-01T00:00:00Z"))

    def taken(self) -> list[int]:
        parcels = self.queue.take(100, 10**6, of_one=100)
        self.queue.release()
        return [entry.sequence for parcel in parcels for entry in parcel.entries]


def test_what_came_before_the_hold_is_published_and_what_comes_after_it_waits():
    queue = Queue()
    queue.offer(1, 2)
    queue.queue.hold()
    queue.offer(3, 4)
    assert queue.taken() == [1, 2]
    assert not queue.queue.has_waiting
    assert queue.taken() == []
    assert len(queue.queue) == 2
    assert queue.queue.oldest_received == 3.0


def test_a_lane_is_not_woken_for_what_is_held_back():
    queue = Queue()
    queue.queue.hold()
    queue.offer(1)
    assert queue.ready == 0
    queue.queue.let_go()
    assert queue.ready == 1
    assert queue.taken() == [1]


async def test_forgetting_what_is_held_makes_room_and_empties_the_queue_without_a_gap():
    queue = Queue(max_messages=2)
    queue.queue.hold()
    queue.offer(1, 2)
    assert queue.queue.is_full
    queue.queue.forget_held()
    assert (len(queue.queue), queue.queue.size_bytes, queue.dropped) == (0, 0, [])
    await queue.queue.wait_for_room()
    await queue.queue.wait_until_empty()


def test_forgetting_spares_what_came_before_the_hold():
    queue = Queue()
    queue.offer(1)
    queue.queue.hold()
    queue.offer(2, 3)
    queue.queue.forget_held()
    assert queue.taken() == [1]
    assert queue.queue.size_bytes == 0


def test_nothing_is_forgotten_where_nothing_is_held():
    queue = Queue()
    queue.offer(1)
    queue.queue.forget_held()
    queue.queue.let_go()
    assert queue.taken() == [1]


@pytest.mark.parametrize("before", [0, 1, 2])
def test_held_frames_are_dropped_last_and_the_drop_is_announced(before: int):
    queue = Queue(Overflow.DROP_OLDEST, max_messages=3)
    queue.offer(*range(1, before + 1))
    queue.queue.hold()
    queue.offer(*range(before + 1, 6))
    queue.queue.let_go()
    assert queue.taken() == [3, 4, 5]
    assert [(drop.first, drop.last) for drop in queue.dropped] == [(1, 2)]
