"""Plays many histories, on all cores, and replays one: `python -m tests.model.explorer SEED` tells its story."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from tests.model.history import History, play
from tests.model.memory import remembering

AT_ONCE = 250


def first_broken(seeds: Iterable[int]) -> History | None:
    """The first history that breaks a promise."""
    with remembering():
        return next((history for seed in seeds if (history := play(seed)).faults), None)


def story_of_first_broken(seeds: range) -> str | None:
    """As `first_broken`, over all cores."""
    parts = [seeds[start : start + AT_ONCE] for start in range(0, len(seeds), AT_ONCE)]
    cores = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        for story in pool.map(_story, parts):
            if story is not None:
                pool.shutdown(cancel_futures=True)
                return story
    return None


def _story(seeds: range) -> str | None:
    broken = first_broken(seeds)
    return None if broken is None else str(broken)


if __name__ == "__main__":
    print(play(int(sys.argv[1])))  # noqa: T201 - what was asked for
