"""What a manager has published, checked while it is read: order, doubles, holes. It keeps no frames."""

from __future__ import annotations

import os
import select
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from tests.acceptance.feed import sent_at
from tests.peers import until

READ_BYTES = 1024 * 1024


@dataclass
class Run:
    """What came of one connection under one epoch. `holes`: sequences that are missing, both ends inclusive.

    `last`: sequence; `number`: of the feed, the last one.
    """

    last: int = 0
    number: int = -1
    holes: list[tuple[int, int]] = field(default_factory=list)


@dataclass
class Numbers:
    """The feed's numbers of one connection, over all epochs. `holes`: numbers that are missing, both ends inclusive.

    `sent_at`: the Unix time at which the feed sent the last one.
    """

    first: int
    last: int
    sent_at: float
    count: int = 1
    holes: list[tuple[int, int]] = field(default_factory=list)

    def fill(self, number: int) -> bool:
        """Take in a number that had been missing; False when it was not."""
        for place, (first, last) in enumerate(self.holes):
            if first <= number <= last:
                left = (first, number - 1), (number + 1, last)
                self.holes[place : place + 1] = [(begin, end) for begin, end in left if begin <= end]
                self.count += 1
                return True
        return False


@dataclass
class Ledger:
    """Takes lines; all that is wrong with them stands in `faults`, by connection and number.

    `overlaps`: two hosts may have sockets to one peer for a while, so that a number may come under two epochs, which
    `doubled` holds, and under an older epoch than that of the last frame, which `late` holds.
    """

    overlaps: bool = False
    frames: int = 0
    runs: dict[tuple[str, int], Run] = field(default_factory=dict)
    numbers: dict[str, Numbers] = field(default_factory=dict)
    others: list[dict[str, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    doubled: list[tuple[str, int]] = field(default_factory=list)
    late: list[tuple[str, int]] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)
    told_connected: dict[str, int] = field(default_factory=dict)
    longest_way_s: float = 0
    torn: int = 0

    def take(self, line: bytes) -> None:
        """One line of the output."""
        try:
            event = orjson.loads(line)
        except orjson.JSONDecodeError:
            self.torn += 1  # a process that was killed may leave one, and no more
            return
        self.take_event(event)

    def take_event(self, event: dict[str, Any]) -> None:
        """One event. How long frames are on their way is measured on those that come under the newest epoch."""
        if not event["type"].endswith(".frame"):
            self.others.append(event)
            data = event["data"]
            if event["type"].endswith(".status") and data["status"] == "Connected":
                self.told_connected[data["connectionId"]] = max(
                    self.told_connected.get(data["connectionId"], 0), data["epoch"]
                )
            return
        self.frames += 1
        data = event["data"]
        id_, epoch = data["websocketId"], data["epoch"]
        number, at = sent_at(data["payload"])
        self._take_sequence((id_, epoch), data["sequence"], number)
        self._take_number(id_, number, at)
        self.newest[id_] = max(self.newest.get(id_, 0), epoch)
        if epoch < self.newest[id_]:
            self.late.append((id_, number))
        else:
            self.longest_way_s = max(self.longest_way_s, seconds(data["timestamp"]) - at)

    def begin_anew(self) -> None:
        """Forget what was wrong or told so far; what comes from now on must still follow on what has come."""
        for known in (self.others, self.faults, self.doubled, self.late):
            known.clear()
        for holes in [run.holes for run in self.runs.values()] + [numbers.holes for numbers in self.numbers.values()]:
            holes.clear()
        self.longest_way_s = 0

    def _take_sequence(self, key: tuple[str, int], sequence: int, number: int) -> None:
        run = self.runs.setdefault(key, Run())
        if sequence > run.last + 1:
            run.holes.append((run.last + 1, sequence - 1))
        elif sequence <= run.last:
            self.faults.append(f"{key}: sequence {sequence} after {run.last}")
        if number <= run.number:
            self.faults.append(f"{key}: number {number} after {run.number}")
        run.last, run.number = sequence, number

    def _take_number(self, connection_id: str, number: int, at: float) -> None:
        known = self.numbers.get(connection_id)
        if known is None:
            self.numbers[connection_id] = Numbers(number, number, at)
            return
        if number > known.last:
            if number > known.last + 1:
                known.holes.append((known.last + 1, number - 1))
            known.last, known.sent_at = number, at
            known.count += 1
        elif not self.overlaps:
            self.faults.append(f"{connection_id}: number {number} after {known.last}")
        elif not known.fill(number):
            self.doubled.append((connection_id, number))

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The data of all events of a kind other than frames."""
        return [event["data"] for event in self.others if event["type"].endswith(f".{kind}")]

    def gaps(self, kind: str) -> list[dict[str, Any]]:
        """The gaps that were announced, `dropped` or `blind`."""
        return [gap for gap in self.told("gap") if gap["kind"] == kind]

    def blind_times(self) -> dict[str, list[tuple[float, float]]]:
        """From when to when, in Unix times, each connection was blind, as it was announced."""
        found: dict[str, list[tuple[float, float]]] = {}
        for gap in self.gaps("blind"):
            found.setdefault(gap["connectionId"], []).append((seconds(gap["fromTime"]), seconds(gap["toTime"])))
        return found

    def connected(self) -> dict[tuple[str, int], dict[str, Any]]:
        """The first Connected of each connection and epoch."""
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for status in self.told("status"):
            if status["status"] == "Connected":
                found.setdefault((status["connectionId"], status["epoch"]), status)
        return found

    def check_sequences(self) -> None:
        """Every missing sequence lies in an announced gap, and nothing came twice or out of order."""
        faults = self.faults[:]
        announced: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for gap in self.gaps("dropped"):
            hole = gap["fromSequence"], gap["toSequence"]
            announced.setdefault((gap["connectionId"], gap["epoch"]), []).append(hole)
        for key, run in self.runs.items():
            left = [hole for hole in run.holes if not _is_covered(hole, announced.get(key, []))]
            faults += [f"{key}: sequences {first} to {last} are missing unannounced" for first, last in left]
        assert not faults, "\n".join(faults[:20])

    def check_holes(self, sent: list[dict[str, Any]], slot_of: Callable[[str], int]) -> int:
        """Every missing number was sent inside a blind gap of its connection. Returns how many are missing.

        `sent`: what the feed tells of its numbers. One that was on its way when the gap began counts as inside; how
        long that may be is measured on all that have arrived.
        """
        times = {(line["slot"], line["number"]): line["at"] for line in sent}
        gaps = self.blind_times()
        faults, missing = self.faults[:], 0
        for id_, numbers in self.numbers.items():
            for number in (number for first, last in numbers.holes for number in range(first, last + 1)):
                missing += 1
                at = times[slot_of(id_), number]
                if not any(begin - self.longest_way_s <= at <= end for begin, end in gaps.get(id_, [])):
                    faults.append(f"{id_}: number {number}, sent at {at:.3f}, is in no gap of {gaps.get(id_)}")
        assert not faults, f"the longest way took {self.longest_way_s:.3f} s\n" + "\n".join(faults[:20])
        return missing

    def check_all_published(
        self,
        sent: list[dict[str, Any]],
        slot_of: Callable[[str], int],
        until_s: float,
        longest_way_s: float | None = None,
    ) -> None:
        """Nothing is missing of what had arrived by a Unix time: of all that was sent longer before than it takes.

        How long that may be is measured on all that have arrived, or is given. A number counts when the next one was
        told by then: the feed tells before it sends.
        """
        arrived_s = until_s - (self.longest_way_s if longest_way_s is None else longest_way_s)
        last: dict[int, int] = {}
        for line, following in pairwise(sent):
            if following["at"] < arrived_s:
                last[line["slot"]] = line["number"]
        faults = [
            f"{id_}: sent until {last[slot_of(id_)]}, published until {numbers.last}, missing {numbers.holes}"
            for id_, numbers in self.numbers.items()
            if numbers.holes or numbers.last < last[slot_of(id_)]
        ]
        assert not faults, "\n".join(faults[:20])


def seconds(time: str) -> float:
    """Unix time of a time on the wire."""
    return datetime.fromisoformat(time).timestamp()


def _is_covered(hole: tuple[int, int], announced: list[tuple[int, int]]) -> bool:
    first, last = hole
    for begin, end in sorted(announced):
        if begin <= first <= end:
            first = end + 1
    return first > last


class Output:
    """The lines of a growing file, or of a pipe, handed on whole."""

    def __init__(self, source: Path | int, take: Callable[[bytes], None]) -> None:
        self.fd = os.open(source, os.O_RDONLY) if isinstance(source, Path) else source
        self._take = take
        self._rest = b""

    def read(self, patience_s: float = 0) -> int:
        """Take in what is there, up to a mebibyte; returns how much that was. `patience_s` is for pipes."""
        if patience_s and not select.select([self.fd], [], [], patience_s)[0]:
            return 0
        data = os.read(self.fd, READ_BYTES)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._take(line)
        return len(data)

    def read_all(self) -> None:
        """Take in all that a file holds now, or a pipe until its end."""
        while self.read():
            pass

    async def until(self, condition: Callable[[], object], what: str, patience_s: float = 20) -> None:
        """Read a file on until something holds."""

        def holds() -> object:
            self.read_all()
            return condition()

        await until(holds, what, patience_s)

    def close(self) -> None:
        os.close(self.fd)
